package smtp_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/intake"
	"mailporter/workers/internal/intake/smtp"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/outbound/outboundtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	support = "support@contoso.example"
	ann     = "ann@elsewhere.example"
)

// door is a running server and its outbox.
type door struct {
	box     *outboundtest.Memory
	address string
	stop    func() // tells it to stop and waits until it has
}

// mailboxes is what the broker says.
func mailboxes() []tokenclient.Settings {
	return []tokenclient.Settings{
		{Mailbox: "Support@contoso.example", Outbound: tokenclient.OutboundSettings{SenderAliases: []string{"help@contoso.example", "*@old.example"}}},
		{Mailbox: "sales@contoso.example", Outbound: tokenclient.OutboundSettings{SenderAliases: []string{"help@contoso.example", "support@contoso.example"}}},
	}
}

// open starts a server; the test stops it.
func open(t *testing.T, c smtp.Config) *door {
	t.Helper()
	box, senders := &outboundtest.Memory{}, &intake.Senders{}
	senders.Set(mailboxes())
	d := openOver(t, c, box, senders)
	d.box = box
	return d
}

// openOver is open with an outbox and senders of the test's own.
func openOver(t *testing.T, c smtp.Config, o intake.Outbox, senders *intake.Senders) *door {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{address: l.Addr().String()}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- smtp.New(c, o, senders).Serve(ctx, l) }()
	stopped := false
	d.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("serve: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Error("the server does not stop")
		}
	}
	t.Cleanup(d.stop)
	return d
}

// client speaks to the door by hand.
type client struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func dial(t *testing.T, address string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return speak(t, conn)
}

func speak(t *testing.T, conn net.Conn) *client {
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &client{t, conn, bufio.NewReader(conn)}
}

// greeted is a client after EHLO.
func greeted(t *testing.T, d *door) *client {
	t.Helper()
	c := dial(t, d.address)
	c.want("220 ")
	c.do("EHLO me", "250 ")
	return c
}

func (c *client) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, text); err != nil {
		c.t.Fatalf("send %.60q: %v", text, err)
	}
}

// reply reads one reply, all its lines.
func (c *client) reply() string {
	c.t.Helper()
	var all strings.Builder
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			c.t.Fatalf("after %q: %v", all.String(), err)
		}
		all.WriteString(line)
		if len(line) < 4 || line[3] != '-' {
			return all.String()
		}
	}
}

// want reads a reply whose last line starts like this.
func (c *client) want(prefix string) string {
	c.t.Helper()
	got := c.reply()
	lines := strings.Split(strings.TrimSuffix(got, "\r\n"), "\r\n")
	if !strings.HasPrefix(lines[len(lines)-1], prefix) {
		c.t.Fatalf("got %q, want %q", got, prefix)
	}
	return got
}

func (c *client) do(line, want string) string {
	c.t.Helper()
	c.send(line + "\r\n")
	return c.want(want)
}

// closed expects that the server has ended the connection.
func (c *client) closed() {
	c.t.Helper()
	if b, err := c.r.ReadByte(); !errors.Is(err, io.EOF) {
		c.t.Fatalf("read %q, %v; want the end", b, err)
	}
}

// begin goes up to DATA.
func (c *client) begin(from string) {
	c.t.Helper()
	c.do("MAIL FROM:<"+from+">", "250 ")
	c.do("RCPT TO:<"+ann+">", "250 ")
	c.do("DATA", "354 ")
}

// taken is what the outbox holds, bytes and jobs.
func (d *door) taken(t *testing.T) (bodies [][]byte, jobs []outbound.Job) {
	t.Helper()
	jobs, err := d.box.Claim(t.Context(), []string{"Support@contoso.example", "sales@contoso.example"}, 999, 999, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range jobs {
		r, err := d.box.Open(t.Context(), j)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err := errors.Join(err, r.Close()); err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, b)
	}
	return bodies, jobs
}

// stuff doubles dots as a client must.
func stuff(m string) string {
	m = strings.ReplaceAll("\r\n"+m, "\r\n.", "\r\n..")[2:]
	return m + ".\r\n"
}

func mustEqual(t *testing.T, got []byte, want string) {
	t.Helper()
	if !bytes.Equal(got, []byte(want)) {
		t.Errorf("%d bytes %.100q, want %d bytes %.100q", len(got), got, len(want), want)
	}
}
