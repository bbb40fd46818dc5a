package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"mailporter/kit/benchmark"
)

// leastShare is how much of what the server can give one worker is to move out of several mailboxes.
const leastShare = 0.8

// fleet compares a worker that reads several mailboxes with connections that throw away what they read.
func (b *bench) fleet(ctx context.Context) ([]benchmark.Result, error) {
	d, err := b.duel(
		func() (outcome, error) { return b.work(ctx, "imap-worker", "fleet", members) },
		func() (outcome, error) { return b.discard(ctx) }, b.options.rounds)
	if err != nil {
		return nil, err
	}
	r := d.compare()
	r.Name, r.Target = "imap-fleet-messages-per-second", leastShare
	fmt.Fprintf(b.out, "\n%d mailboxes of %d messages: one imap-worker into Maildirs %s/s, %d connections that throw the bytes away %s/s; left behind %s and %s\n",
		members, b.fleetMessages(), benchmark.Number(r.Ours), members, benchmark.Number(r.Limit),
		d.leftBehind(0, members*b.fleetMessages()), d.leftBehind(1, members*b.fleetMessages()))
	return []benchmark.Result{r}, nil
}

// discard fetches every message of the fleet's mailboxes, a connection each, one command each.
func (b *bench) discard(ctx context.Context) (outcome, error) {
	began := time.Now()
	n, err := b.drainAll(ctx, b.fleetBoxes()...)
	return outcome{moved: n, took: time.Since(began)}, err
}

// drainAll reads mailboxes side by side and returns how many messages came.
func (b *bench) drainAll(ctx context.Context, mailboxes ...string) (int, error) {
	conf, err := b.trust()
	if err != nil {
		return 0, err
	}
	password, err := b.Secret("account")
	if err != nil {
		return 0, err
	}
	came, errs := make([]int, len(mailboxes)), make([]error, len(mailboxes))
	var wg sync.WaitGroup
	for i, mailbox := range mailboxes {
		wg.Go(func() { came[i], errs[i] = drain(ctx, b.Ports.IMAP, conf, mailbox, password) })
	}
	wg.Wait()
	all := 0
	for _, n := range came {
		all += n
	}
	return all, errors.Join(errs...)
}

func (b *bench) trust() (*tls.Config, error) {
	pem, err := os.ReadFile(b.Path("tls/ca.pem"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("tls/ca.pem holds no certificate")
	}
	return &tls.Config{RootCAs: pool, ServerName: "localhost"}, nil
}

// drain reads all messages of a mailbox and throws them away. It returns how many came.
func drain(ctx context.Context, port int, conf *tls.Config, mailbox, password string) (n int, err error) {
	d := tls.Dialer{Config: conf}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	r := bufio.NewReaderSize(conn, 64<<10)
	for _, command := range []string{"LOGIN " + mailbox + " " + password, "EXAMINE INBOX", "UID FETCH 1:* (UID BODY.PEEK[])", "LOGOUT"} {
		if _, err := io.WriteString(conn, "a "+command+"\r\n"); err != nil {
			return n, err
		}
		literals, err := answer(r)
		if err != nil {
			return n, fmt.Errorf("%s: %w", strings.Fields(command)[0], err) // not the rest: LOGIN has the password
		}
		n += literals
	}
	return n, nil
}

// answer reads up to the tagged line, literals included, and returns how many of those there were.
func answer(r *bufio.Reader) (literals int, err error) {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return literals, err
		}
		if size, ok := literal(line); ok {
			if _, err := io.CopyN(io.Discard, r, size); err != nil {
				return literals, err
			}
			literals++
			continue
		}
		if status, ok := strings.CutPrefix(line, "a "); ok {
			if !strings.HasPrefix(status, "OK") {
				return literals, fmt.Errorf("the server says %q", strings.TrimSpace(status))
			}
			return literals, nil
		}
	}
}

// literal is the size of the literal that follows a line, RFC 3501 section 4.3.
func literal(line string) (size int64, ok bool) {
	line = strings.TrimRight(line, "\r\n")
	open := strings.LastIndexByte(line, '{')
	if open < 0 || !strings.HasSuffix(line, "}") {
		return 0, false
	}
	size, err := strconv.ParseInt(line[open+1:len(line)-1], 10, 64)
	return size, err == nil && size >= 0
}
