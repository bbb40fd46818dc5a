package imapd

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"net"
	"strings"
	"sync"
	"time"

	"mailporter/sandbox/fault"
)

// maxLine bounds a command line before login: tokens have a few kilobytes.
const maxLine = 64 << 10

var errLineTooLong = errors.New("command line too long")

// conn is the network as go-imap's server sees it. Reads and writes come from one goroutine each; what others may do
// (close, say BYE) is under mu.
type conn struct {
	profile *profile
	tls     *tls.Config // for STARTTLS; nil: not offered

	mu    sync.Mutex
	inner net.Conn

	in      *bufio.Reader
	pending []byte // read from the client, not yet taken by go-imap

	// Set by the session, which runs in the goroutine that also writes.
	loggedIn bool
	verb     string // AUTHENTICATE or LOGIN: what Exchange says is completed
	mailbox  string
	verbatim bool // message bytes go out: nothing is to be rewritten

	farewell  []byte // after the next write: say this and close; nil: go on
	loseNext  bool   // reset instead of the next write
	cutting   bool   // pass cutBytes bytes of the next literal and close
	cutBytes  int
	cutBuffer []byte
}

func newConn(c net.Conn, p *profile, starttls *tls.Config) *conn {
	return &conn{profile: p, tls: starttls, inner: c, in: bufio.NewReaderSize(c, maxLine)}
}

func (c *conn) net() net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.inner
}

func (c *conn) canStartTLS() bool {
	_, secure := c.net().(*tls.Conn)
	return c.tls != nil && !secure
}

// Read passes bytes on, but before login line by line, to see AUTHENTICATE and STARTTLS go by.
func (c *conn) Read(p []byte) (int, error) {
	for len(c.pending) == 0 {
		if c.loggedIn {
			return c.in.Read(p)
		}
		line, err := c.in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return 0, errLineTooLong
		}
		if err != nil {
			return 0, err
		}
		if err := c.command(bytes.Clone(line)); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.pending)
	c.pending = c.pending[n:]
	return n, nil
}

// command looks at one line; what go-imap is to see of it becomes pending.
func (c *conn) command(line []byte) error {
	words := strings.Fields(string(line))
	switch {
	case len(words) == 2 && strings.EqualFold(words[1], "STARTTLS") && c.canStartTLS():
		return c.startTLS(words[0])
	case len(words) > 1 && c.canStartTLS() && (strings.EqualFold(words[1], "AUTHENTICATE") || strings.EqualFold(words[1], "LOGIN")):
		return c.say(words[0] + " NO [PRIVACYREQUIRED] TLS is required to authenticate\r\n")
	case len(words) == 3 && strings.EqualFold(words[1], "AUTHENTICATE"):
		return c.twoSteps(words[0], words[2])
	case len(words) == 4 && strings.EqualFold(words[1], "AUTHENTICATE"):
		return c.respond(words[0], words[2], words[3])
	}
	c.pending = line
	return nil
}

// respond hands a SASL response to go-imap, which would call one that is no base64 its own bug.
func (c *conn) respond(tag, mechanism, response string) error {
	if _, err := base64.StdEncoding.DecodeString(response); err != nil && response != "=" {
		return c.say(tag + " BAD Malformed SASL response\r\n")
	}
	c.pending = []byte(tag + " AUTHENTICATE " + mechanism + " " + response + "\r\n")
	return nil
}

// twoSteps joins both steps into one line: go-imap takes a long token only as initial response.
func (c *conn) twoSteps(tag, mechanism string) error {
	if err := c.say("+ \r\n"); err != nil {
		return err
	}
	line, err := c.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return errLineTooLong
	}
	if err != nil {
		return err
	}
	response := strings.TrimSpace(string(line))
	switch response {
	case "*":
		return c.say(tag + " BAD AUTHENTICATE cancelled\r\n")
	case "":
		response = "=" // RFC 4959 section 3: an empty initial response
	}
	return c.respond(tag, mechanism, response)
}

func (c *conn) startTLS(tag string) error {
	if c.in.Buffered() > 0 { // RFC 3501 section 6.2.1: nothing may be sent behind STARTTLS in the clear
		return errors.New("data behind STARTTLS")
	}
	if err := c.say(tag + " OK Begin TLS negotiation now.\r\n"); err != nil {
		return err
	}
	secure := tls.Server(c.net(), c.tls)
	if err := secure.Handshake(); err != nil {
		return err
	}
	c.mu.Lock()
	c.inner = secure
	c.mu.Unlock()
	c.in.Reset(secure)
	return nil
}

func (c *conn) say(line string) error {
	_, err := c.net().Write([]byte(line))
	return err
}

// Write passes bytes on, rewritten or spoiled as it was asked for.
func (c *conn) Write(p []byte) (int, error) {
	if c.loseNext {
		fault.ResetConn(c.net())
		return 0, net.ErrClosed
	}
	if c.cutting {
		return c.writeCut(p)
	}
	out := p
	if !c.verbatim {
		out = c.profile.rewrite(p, c)
	}
	if _, err := c.net().Write(out); err != nil {
		return 0, err
	}
	if c.farewell != nil {
		_ = c.say(string(c.farewell)) // the session is over either way
		return len(p), c.Close()
	}
	return len(p), nil
}

// writeCut holds everything back until the literal has as many bytes as may go out.
func (c *conn) writeCut(p []byte) (int, error) {
	c.cutBuffer = append(c.cutBuffer, p...)
	i := bytes.Index(c.cutBuffer, []byte("}\r\n"))
	if i < 0 || len(c.cutBuffer) < i+3+c.cutBytes {
		return len(p), nil
	}
	_, err := c.net().Write(c.cutBuffer[:i+3+c.cutBytes])
	return 0, errors.Join(err, c.Close(), net.ErrClosed)
}

// waitGone waits until the client goes away; it must not be called while somebody reads.
func (c *conn) waitGone() {
	_ = c.SetReadDeadline(time.Time{}) // an error means that it is gone
	for {
		if _, err := c.in.ReadByte(); err != nil {
			return
		}
	}
}

func (c *conn) Close() error                       { return c.net().Close() }
func (c *conn) NetConn() net.Conn                  { return c.net() }
func (c *conn) LocalAddr() net.Addr                { return c.net().LocalAddr() }
func (c *conn) RemoteAddr() net.Addr               { return c.net().RemoteAddr() }
func (c *conn) SetDeadline(t time.Time) error      { return c.net().SetDeadline(t) }
func (c *conn) SetReadDeadline(t time.Time) error  { return c.net().SetReadDeadline(t) }
func (c *conn) SetWriteDeadline(t time.Time) error { return c.net().SetWriteDeadline(t) }
