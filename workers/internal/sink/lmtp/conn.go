package lmtp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"mailporter/workers/internal/esmtp"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/wire"
)

// conn is one connection that said LHLO. One goroutine at a time.
type conn struct {
	wire    *wire.Conn
	r       *bufio.Reader
	w       *bufio.Writer
	offers  map[string]bool // extensions in capitals
	timeout time.Duration
	idle    time.Time // since when nobody uses it
}

// dial opens a connection up to where deliveries may start.
func dial(ctx context.Context, c Config) (*conn, error) {
	raw, err := connect(ctx, c)
	if err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, raw.Abort)()
	raw.Await(c.Timeout)
	l := &conn{wire: raw, r: bufio.NewReaderSize(raw, esmtp.MaxLine), w: bufio.NewWriterSize(raw, 32<<10), timeout: c.Timeout}
	if err := l.open(ctx, c); err != nil {
		raw.Abort()
		return nil, err
	}
	return l, nil
}

func connect(ctx context.Context, c Config) (*wire.Conn, error) {
	if path, unix := strings.CutPrefix(c.Address, unixPrefix); unix {
		var d net.Dialer
		raw, err := d.DialContext(ctx, "unix", path)
		if err != nil {
			return nil, fmt.Errorf("connect: %w", err)
		}
		return wire.Wrap(raw, wire.Options{}), nil
	}
	host, port, err := net.SplitHostPort(c.Address)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return wire.Dial(ctx, wire.Options{Host: host, Port: n, Security: c.Security, Roots: c.Roots})
}

func (l *conn) open(ctx context.Context, c Config) error {
	if err := l.want(220, "greeting")(esmtp.ReadReply(l.r)); err != nil {
		return err
	}
	if err := l.hello(c.Hostname); err != nil {
		return err
	}
	if c.Security != wire.StartTLS || strings.HasPrefix(c.Address, unixPrefix) {
		return nil
	}
	if err := l.startTLS(ctx); err != nil {
		return err
	}
	return l.hello(c.Hostname) // RFC 3207 section 4.2: what was learned in the clear is void
}

func (l *conn) startTLS(ctx context.Context) error {
	if !l.offers["STARTTLS"] {
		return &fault.Error{
			Kind: fault.Temporary, Reason: "STARTTLS_NOT_OFFERED", Err: errors.New("starttls: the server does not offer it"),
			Remedy: "enable STARTTLS on the LMTP server, or use ssl-tls; mail is never sent in the clear",
		}
	}
	if err := l.want(220, "starttls")(l.command("STARTTLS")); err != nil {
		return err
	}
	if l.r.Buffered() > 0 {
		return errors.New("starttls: the server sent more than an answer")
	}
	if err := l.wire.StartTLS(ctx); err != nil {
		return fmt.Errorf("starttls: %w", err)
	}
	return nil
}

// hello: LMTP has LHLO in place of EHLO, so that neither can be taken for the other.
func (l *conn) hello(name string) error {
	reply, err := l.command("LHLO " + name)
	if err := l.want(250, "lhlo")(reply, err); err != nil {
		return err
	}
	l.offers = map[string]bool{}
	for _, line := range reply.Lines[1:] {
		word, _, _ := strings.Cut(line, " ")
		l.offers[strings.ToUpper(word)] = true
	}
	return nil
}

// want makes an error of every reply but one with this code.
func (l *conn) want(code int, step string) func(esmtp.Reply, error) error {
	return func(r esmtp.Reply, err error) error {
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", step, err)
		case r.Code != code:
			return fmt.Errorf("%s: %w", step, r)
		}
		return nil
	}
}

// command sends one line and reads its reply.
func (l *conn) command(line string) (esmtp.Reply, error) {
	if err := l.send(line); err != nil {
		return esmtp.Reply{}, err
	}
	return esmtp.ReadReply(l.r)
}

func (l *conn) send(line string) error {
	if _, err := l.w.WriteString(line + "\r\n"); err != nil {
		return err
	}
	return l.w.Flush()
}

// goodbye bounds the end of a connection.
const goodbye = 2 * time.Second

// quit ends the connection in order; nothing depends on the answer.
func (l *conn) quit() {
	l.wire.Await(goodbye)
	if _, err := l.command("QUIT"); err != nil {
		l.wire.Abort()
		return
	}
	_ = l.wire.Close() // the server may have closed first
}
