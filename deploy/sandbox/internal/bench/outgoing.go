package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/emersion/go-smtp"

	"mailporter/kit/benchmark"
	"mailporter/sandbox/internal/stage"
)

const (
	throughput  = 0.8 // of what the client alone sends
	connections = 8   // that a mailbox may have, and that the client alone uses
	submitters  = 16  // connections that hand mail in
	outSize     = 20 << 10
	customer    = "customer@shop.example"
)

// outgoing measures mail that is submitted to a worker, kept in its outbox and sent from there, against the workers' own
// client that sends the same message straight to the same server, over as many connections.
func (b *bench) outgoing(ctx context.Context) (all []benchmark.Result, err error) {
	slow, err := b.slowServer()
	if err != nil {
		return nil, err
	}
	defer slow()
	sink, err := b.sink(ctx)
	if err != nil {
		return nil, err
	}
	defer sink()
	if err := b.postfix(ctx); err != nil {
		return nil, err
	}
	fmt.Fprintf(b.out, "\nSMTP out, messages of %d kB, %d connections, handed in over %d: through the outbox, and the same client straight to the same server:\n",
		outSize>>10, connections, submitters)
	for _, w := range []struct {
		name, identity, store string
		port, messages        int
	}{
		{"smtp-out-slow-server", "slowout", "file", b.Ports.Slow, b.options.messages},
		{"smtp-out-postfix", "postout", "file", b.Ports.Postfix, b.options.messages},
		{"smtp-out-postfix-redis", "postout", "redis", b.Ports.Postfix, b.options.messages},
		{"smtp-out-sink", "sinkout", "file", b.Ports.Sink, 2 * b.options.messages},
		{"smtp-out-sink-redis", "sinkout", "redis", b.Ports.Sink, 2 * b.options.messages},
	} {
		d, err := b.duel(
			func() (outcome, error) { return b.through(ctx, "smtp-worker", w.identity, w.store, w.messages) },
			func() (outcome, error) { return b.straight(ctx, w.identity, w.port, w.messages) }, b.options.rounds)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", w.name, err)
		}
		r := d.compare()
		r.Name, r.Target = w.name+"-messages-per-second", throughput
		fmt.Fprintf(b.out, "%s: %s/s through the outbox, %s/s straight, ratio %.2f; left behind %s and %s\n", w.name,
			benchmark.Number(r.Ours), benchmark.Number(r.Limit), r.Ratio, d.leftBehind(0, w.messages), d.leftBehind(1, w.messages))
		all = append(all, r)
	}
	_, err = fmt.Fprintf(b.out, "slow-server answers each message after %s; postfix fsyncs each message before it answers, on the same disk; sink answers as fast as it can and keeps nothing; file: fsync before the 250, and after each outcome and claim, which is one if the next message waits; redis: appendfsync always\n",
		answerTime)
	return all, err
}

// steps is how many requests a message takes over EWS and Graph: one makes the draft, one sends it.
const steps = 2

// outLatency measures EWS and Graph out against what the server's answer time allows.
func (b *bench) outLatency(ctx context.Context) (all []benchmark.Result, err error) {
	limit := allowed / steps / answerTime.Seconds()
	fmt.Fprintf(b.out, "\n%d messages out of a mailbox whose server takes %s for an answer and %d requests at a time, %d of them for a message, %.0f messages/s at most:\n",
		slowMessages, answerTime, allowed, steps, limit)
	for _, target := range []string{"graph", "ews"} {
		o, err := b.slowOut(ctx, target)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", target, err)
		}
		fmt.Fprintf(b.out, "%s-worker %s/s, left behind %d\n", target, benchmark.Number(o.rate()), slowMessages-o.moved)
		all = append(all, benchmark.Result{Name: target + "-out-50ms-messages-per-second", Ours: o.rate(), Limit: limit, Ratio: o.rate() / limit, Target: leastUse})
	}
	return all, nil
}

// slowOut lets a worker send from a mailbox of the sandbox whose answers are slow.
func (b *bench) slowOut(ctx context.Context, target string) (outcome, error) {
	rule, err := json.Marshal(map[string]string{"target": target, "action": "delay", "delay": answerTime.String()})
	if err != nil {
		return outcome{}, err
	}
	if err := b.ask(ctx, http.MethodPost, b.Ports.SandboxAdmin, "/faults", bytes.NewReader(rule), nil); err != nil {
		return outcome{}, err
	}
	o, err := b.through(ctx, target+"-worker", target, "file", slowMessages)
	if err != nil {
		return outcome{}, err
	}
	return o, b.ask(ctx, http.MethodDelete, b.Ports.SandboxAdmin, "/faults", nil, nil)
}

// through hands so many messages in at a worker and waits until it has sent them. The time is from the first one handed in
// to the last one sent.
func (b *bench) through(ctx context.Context, program, identity, store string, messages int) (o outcome, err error) {
	t, err := b.trial()
	if err != nil {
		return outcome{}, err
	}
	programs, err := t.open(ctx, program, identity, store)
	defer func() { err = errors.Join(err, stage.StopAll(programs)) }()
	if err != nil {
		return outcome{}, err
	}
	began := time.Now()
	if err := t.submit(ctx, b.Roles()[identity], messages); err != nil {
		return outcome{}, err
	}
	sent, end, err := t.sent(ctx, messages)
	return outcome{moved: sent, took: end.Sub(began)}, err
}

// open starts a worker that sends, on a state that is new.
func (t *trial) open(ctx context.Context, program, identity, store string) (programs []*stage.Program, err error) {
	t.State = "file:" + filepath.Join(t.Dir, "state")
	if err := stage.FreePorts(&t.Ports.Worker, &t.Ports.Intake, &t.Ports.Redis); err != nil {
		return nil, err
	}
	launch := func(name string, ready func(context.Context) bool, argv ...string) error {
		p, err := stage.Launch(ctx, t.Dir, name, ready, argv...)
		if p != nil {
			programs = append(programs, p)
		}
		return err
	}
	if store == "redis" {
		address := fmt.Sprintf("127.0.0.1:%d", t.Ports.Redis)
		t.State = "redis://" + address
		err = launch("redis", stage.Pongs(address), "redis-server", "--bind", "127.0.0.1", "--port", strconv.Itoa(t.Ports.Redis), "--dir", t.Dir,
			"--save", "", "--appendonly", "yes", "--appendfsync", "always")
		if err != nil {
			return programs, err
		}
	}
	t.Identity = identity
	config, err := t.configure("sender.yaml")
	if err != nil {
		return programs, err
	}
	return programs, launch(program, t.serves, t.program(program, config)...)
}

// serves says whether the worker takes mail and knows its mailbox.
func (t *trial) serves(ctx context.Context) bool {
	var all []sending
	err := t.ask(ctx, http.MethodGet, t.Ports.Worker, "/mailboxes", nil, &all)
	return err == nil && len(all) == 1 && stage.Listens(t.Ports.Intake)(ctx)
}

// message writes the message of a sender into a file, lines as the platform ends them, and with CRLF into another.
func (t *trial) message(from string) (lines, wire string, err error) {
	text := strings.NewReplacer("<"+customer+">", "<"+from+">", "<support@real.example>", "<"+customer+">").Replace(string(newCorpus(1).ordinary(outSize)))
	_, text, _ = strings.Cut(text, "+0000\r\n") // what servers put before it
	lines, wire = filepath.Join(t.Dir, "message"), filepath.Join(t.Dir, "message.eml")
	return lines, wire, errors.Join(os.WriteFile(lines, []byte(strings.ReplaceAll(text, "\r\n", "\n")), 0o600), os.WriteFile(wire, []byte(text), 0o600))
}

// submit hands the messages in as an application does that only knows SMTP: Postfix's smtp-source.
func (t *trial) submit(ctx context.Context, from string, messages int) error {
	lines, _, err := t.message(from)
	if err != nil {
		return err
	}
	c := exec.CommandContext(ctx, "smtp-source", "-d", "-s", strconv.Itoa(submitters), "-m", strconv.Itoa(messages),
		"-f", from, "-t", customer, "-F", lines, fmt.Sprintf("127.0.0.1:%d", t.Ports.Intake))
	if said, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("smtp-source: %w: %s", err, said)
	}
	return nil
}

// sending is what the worker says of a mailbox that it sends from.
type sending struct {
	Sent        int       `json:"sent"`
	LastSuccess time.Time `json:"last_success"`
	Problem     *struct {
		Text string `json:"text"`
	} `json:"problem"`
}

// sent waits until the worker has sent so many messages, and returns when it sent the last one.
func (t *trial) sent(ctx context.Context, messages int) (int, time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		var all []sending
		if err := t.ask(ctx, http.MethodGet, t.Ports.Worker, "/mailboxes", nil, &all); err != nil {
			return 0, time.Time{}, err
		}
		if len(all) == 1 && all[0].Sent >= messages {
			return all[0].Sent, all[0].LastSuccess, nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return 0, time.Time{}, fmt.Errorf("the worker has not sent everything: %w; %s", ctx.Err(), trouble(all))
		}
	}
}

// trouble is what the worker says for itself, for people.
func trouble(all []sending) string {
	switch {
	case len(all) != 1:
		return fmt.Sprintf("it has %d mailboxes", len(all))
	case all[0].Problem != nil:
		return all[0].Problem.Text
	}
	return fmt.Sprintf("it has sent %d", all[0].Sent)
}

// straight sends as many messages with the workers' client alone.
func (b *bench) straight(ctx context.Context, identity string, port, messages int) (outcome, error) {
	t, err := b.trial()
	if err != nil {
		return outcome{}, err
	}
	from := b.Roles()[identity]
	_, wire, err := t.message(from)
	if err != nil {
		return outcome{}, err
	}
	c := exec.CommandContext(ctx, filepath.Join(b.options.bin, "straight"), "-server", fmt.Sprintf("127.0.0.1:%d", port), "-message", wire,
		"-from", from, "-to", customer, "-messages", strconv.Itoa(messages), "-connections", strconv.Itoa(connections))
	said, err := c.Output()
	if err != nil {
		return outcome{}, fmt.Errorf("straight: %w", err)
	}
	seconds, err := strconv.ParseFloat(strings.TrimSpace(string(said)), 64)
	return outcome{moved: messages, took: time.Duration(seconds * float64(time.Second))}, err
}

// sink starts Postfix's smtp-sink, which reads, says yes and forgets. It knows no orderly end.
func (b *bench) sink(ctx context.Context) (stop func(), err error) {
	c := exec.Command("smtp-sink", "-u", "nobody", fmt.Sprintf("127.0.0.1:%d", b.Ports.Sink), "100")
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("install postfix: %w", err)
	}
	stop = func() {
		_ = c.Process.Kill()
		_ = c.Wait() // by the signal
	}
	for !stage.Listens(b.Ports.Sink)(ctx) {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			stop()
			return nil, ctx.Err()
		}
	}
	return stop, nil
}

// postfix starts a real server, which keeps what it takes.
func (b *bench) postfix(ctx context.Context) error {
	for _, dir := range []string{b.Queue(), b.Path("postfix")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if out, err := exec.Command("chown", "postfix", b.Path("postfix")).CombinedOutput(); err != nil {
		return fmt.Errorf("install postfix: %s", out)
	}
	command := []string{"/usr/sbin/postfix", "-c", string(b.Folder)}
	p, err := stage.Launch(ctx, string(b.Folder), "postfix", stage.Listens(b.Ports.Postfix), append(command, "start-fg")...)
	if p != nil {
		p.StopWith = append(command, "stop")
		b.programs = append(b.programs, p)
	}
	return err
}

// slowServer takes mail and says so after a while, as servers do that are far away and check what they take.
func (b *bench) slowServer() (stop func(), err error) {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", b.Ports.Slow))
	if err != nil {
		return nil, err
	}
	s := smtp.NewServer(patient{})
	s.Domain, s.MaxRecipients = "localhost", 100
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.Serve(l) // until it is closed
	}()
	return func() {
		_ = s.Close()
		<-ended
	}, nil
}

// patient is a server's backend and session that takes everything.
type patient struct{}

func (patient) NewSession(*smtp.Conn) (smtp.Session, error) { return patient{}, nil }
func (patient) Mail(string, *smtp.MailOptions) error        { return nil }
func (patient) Rcpt(string, *smtp.RcptOptions) error        { return nil }
func (patient) Reset()                                      {}
func (patient) Logout() error                               { return nil }

// Data reads the message and answers late.
func (patient) Data(r io.Reader) error {
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	time.Sleep(answerTime)
	return nil
}
