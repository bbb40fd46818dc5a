package smtp

import (
	"bytes"
	"context"
	"crypto/rand"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"mailporter/kit/secret"
	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/intake"
	"mailporter/workers/internal/outbound"
)

// said is a connection on which everything was said already.
type said struct {
	net.Conn
	io.Reader
	heard bytes.Buffer
	from  net.IP
}

func (c *said) Read(p []byte) (int, error)       { return c.Reader.Read(p) }
func (c *said) Write(p []byte) (int, error)      { return c.heard.Write(p) }
func (c *said) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: c.from, Port: 4711} }
func (c *said) SetReadDeadline(time.Time) error  { return nil }
func (c *said) SetWriteDeadline(time.Time) error { return nil }

// box keeps what it is given.
type box struct {
	t  *testing.T
	of []outbound.Submission
}

// Add implements intake.Outbox.
func (b *box) Add(_ context.Context, m outbound.Submission) (string, error) {
	message, err := io.ReadAll(m.Body)
	if err != nil {
		return "", err
	}
	if rest := bytes.ReplaceAll(message, []byte("\r\n"), nil); bytes.ContainsAny(rest, "\r\n") {
		b.t.Errorf("took %q", message)
	}
	b.of = append(b.of, m)
	return rand.Text(), nil
}

var replies = regexp.MustCompile(`\A(?:[2-5]\d\d[ -][^\r\n]*\r\n)*\z`)

// Whatever a client says, all at once: what it hears are replies, and what is taken is from senders of ours, for somebody, of
// whole lines, and from those who may.
func FuzzSession(f *testing.F) {
	const start = "EHLO a\r\nMAIL FROM:<a@ours.example>\r\nRCPT TO:<b@x.example>\r\nDATA\r\n"
	for _, s := range []string{
		start + "Subject: x\r\n\r\nx\r\n.\r\nQUIT\r\n", start + "x\n.\n", start + ".\r\n" + start + ".\r\n", "helo\nmail from: a@ours.example size=1\nrcpt to:<@r:b@x>\ndata\nx\n\r\n.\r\n",
		"EHLO a\r\nAUTH PLAIN AHUAcA==\r\nAUTH LOGIN\r\ndQ==\r\ncA==\r\n", "EHLO a\r\nAUTH LOGIN dQ==\r\n*\r\nSTARTTLS\r\nNOOP\r\n", "POST / HTTP/1.1\r\n", "Subject: x\r\n",
		"EHLO a\r\nMAIL FROM:<a@ours.example> SMTPUTF8 BODY=8BITMIME RET=HDRS ENVID=x AUTH=<>\r\nRCPT TO:<\"a>b\"@x> NOTIFY=NEVER ORCPT=rfc822;x\r\nVRFY x\r\nRSET\r\nHELP\r\n",
	} {
		f.Add([]byte(s), true, false)
		f.Add([]byte(s), false, true)
	}
	file := filepath.Join(f.TempDir(), "password")
	if err := os.WriteFile(file, []byte("p"), 0o600); err != nil {
		f.Fatal(err)
	}
	senders := &intake.Senders{}
	senders.Set([]tokenclient.Settings{{Mailbox: "a@ours.example"}})
	f.Fuzz(func(t *testing.T, in []byte, local, mend bool) {
		taken := &box{t: t}
		s := New(Config{Rules: intake.Rules{MaxSize: 1000, MaxRecipients: 3, MaxHops: 3}, MendLineEnds: mend, Penalty: 1,
			Users: []User{{Name: "u", Password: secret.Ref{File: file}}}}, taken, senders)
		conn := &said{Reader: bytes.NewReader(in), from: net.IPv4(192, 0, 2, 1)}
		if local {
			conn.from = net.IPv4(127, 0, 0, 1)
		}
		newSession(t.Context(), s, conn, &gate{conn: conn}).run()
		if heard := conn.heard.String(); !replies.MatchString(heard) || strings.Count(heard, "250 2.0.0 Queued") != len(taken.of) {
			t.Errorf("%q is answered with %q", in, heard)
		}
		for _, m := range taken.of {
			if !local || m.Mailbox != "a@ours.example" || !strings.EqualFold(m.Envelope.From, m.Mailbox) || (intake.Rules{}).WithDefaults().Check(&m.Envelope) != nil {
				t.Errorf("took %+v", m)
			}
		}
	})
}
