// Straight sends one message again and again over the SMTP client that the workers use, with nothing before it: no door, no
// outbox. It is what the benchmark measures the outbox against.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/smtp"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// task is the command line.
type task struct {
	server      string
	from, to    string
	file        string
	messages    int
	connections int
}

// run prints how many seconds all messages took, from the first connection on.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var k task
	flags := flag.NewFlagSet("straight", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&k.server, "server", "", "host:port that takes mail without TLS and login")
	flags.StringVar(&k.from, "from", "", "sender")
	flags.StringVar(&k.to, "to", "", "recipient")
	flags.StringVar(&k.file, "message", "", "file with the message")
	flags.IntVar(&k.messages, "messages", 1, "how often to send it")
	flags.IntVar(&k.connections, "connections", 3, "how many side by side")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		return 2
	}
	took, err := k.send(ctx)
	if err != nil {
		fmt.Fprintln(stderr, "straight:", err)
		return 1
	}
	fmt.Fprintln(stdout, took.Seconds())
	return 0
}

// send is how long all messages took.
func (k task) send(ctx context.Context) (time.Duration, error) {
	message, err := os.ReadFile(k.file)
	if err != nil {
		return 0, err
	}
	t, err := k.transport()
	if err != nil {
		return 0, err
	}
	began := time.Now()
	err = k.all(ctx, t, mail.Bytes(message))
	took := time.Since(began)
	return took, errors.Join(err, t.Close())
}

func (k task) transport() (*smtp.Transport, error) {
	host, text, err := net.SplitHostPort(k.server)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return nil, err
	}
	s := tokenclient.Settings{Mailbox: k.from, Direction: tokenclient.Outbound, Protocol: tokenclient.SMTP}
	s.Endpoint = tokenclient.Endpoint{Server: host, Port: port, Security: tokenclient.PlainText, Mechanism: tokenclient.NoLogin}
	s.Outbound = tokenclient.OutboundSettings{PoolSize: k.connections, CheckIdle: time.Minute, MaxIdle: time.Minute}
	return smtp.New(smtp.Config{}, s, nil)
}

// all sends as many side by side as there are connections; the first error ends it.
func (k task) all(ctx context.Context, t *smtp.Transport, message mail.Bytes) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	e := mail.Envelope{From: k.from, Recipients: []mail.Recipient{{Address: k.to}}}
	var next atomic.Int64
	var side sync.WaitGroup
	for range k.connections {
		side.Go(func() {
			for ctx.Err() == nil && next.Add(1) <= int64(k.messages) {
				receipt, err := t.Send(ctx, e, message)
				if err == nil && len(receipt.Refused) > 0 {
					err = receipt.Refused[0].Err
				}
				if err != nil {
					stop(err)
				}
			}
		})
	}
	side.Wait()
	return context.Cause(ctx)
}
