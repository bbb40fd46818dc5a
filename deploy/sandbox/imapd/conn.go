package imapd

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"mailporter/sandbox/fault"
)

// maxLine bounds a command line before login: tokens have a few kilobytes.
const maxLine = 64 << 10

var errLineTooLong = errors.New("command line too long")

// conn is the network as go-imap's server sees it. It reads from one goroutine; it writes from several, one at a time.
type conn struct {
	profile *profile
	tls     *tls.Config // for STARTTLS; nil: not offered

	in      *bufio.Reader
	pending []byte // read from the client, not yet taken by go-imap
	literal int64  // so many bytes to come are no commands
	midLine bool   // the rest of a line longer than the buffer is to come

	mu    sync.Mutex
	inner net.Conn
	out   outgoing

	cutBuffer []byte // written, but held back
}

// outgoing is what the session wants done to what goes out.
type outgoing struct {
	loggedIn bool
	verb     string // AUTHENTICATE or LOGIN: what Exchange says is completed
	mailbox  string
	verbatim bool // message bytes go out: nothing is to be rewritten

	farewell []byte // after the next write: say this and close; nil: go on
	loseNext bool   // reset instead of the next write
	cut      bool   // pass cutBytes bytes of the next literal and close
	cutBytes int
}

func newConn(c net.Conn, p *profile, starttls *tls.Config) *conn {
	return &conn{profile: p, tls: starttls, inner: c, in: bufio.NewReaderSize(c, maxLine)}
}

func (c *conn) net() net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.inner
}

// set changes what is done to what goes out.
func (c *conn) set(f func(*outgoing)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f(&c.out)
}

func (c *conn) how() outgoing {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.out
}

// bid sets the farewell, unless there is one already.
func (c *conn) bid(farewell string) {
	c.set(func(o *outgoing) {
		if o.farewell == nil {
			o.farewell = []byte(farewell)
		}
	})
}

func (c *conn) canStartTLS() bool {
	_, secure := c.net().(*tls.Conn)
	return c.tls != nil && !secure
}

// Read passes bytes on line by line, literals aside, to see those commands go by that go-imap does not know.
func (c *conn) Read(p []byte) (int, error) {
	for len(c.pending) == 0 {
		if c.literal > 0 {
			n, err := c.in.Read(p[:min(int64(len(p)), c.literal)])
			c.literal -= int64(n)
			return n, err
		}
		if err := c.readLine(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.pending)
	c.pending = c.pending[n:]
	return n, nil
}

func (c *conn) readLine() error {
	line, err := c.in.ReadSlice('\n')
	whole := err == nil
	if errors.Is(err, bufio.ErrBufferFull) {
		if !c.how().loggedIn {
			return errLineTooLong
		}
		err = nil
	}
	if err != nil {
		return err
	}
	line = bytes.Clone(line)
	first := !c.midLine
	c.midLine = !whole
	if whole {
		c.literal = literalSize(line)
	}
	if !first || !whole || c.literal > 0 {
		c.pending = line
		return nil
	}
	return c.command(line)
}

// literalSize returns the n of a line that ends in {n} or {n+} (RFC 3501 section 4.3, RFC 7888), else 0.
func literalSize(line []byte) int64 {
	line, ok := bytes.CutSuffix(bytes.TrimRight(line, "\r\n"), []byte("}"))
	i := bytes.LastIndexByte(line, '{')
	if !ok || i < 0 {
		return 0
	}
	n, err := strconv.ParseUint(string(bytes.TrimSuffix(line[i+1:], []byte("+"))), 10, 32)
	if err != nil {
		return 0
	}
	return int64(n)
}

// command looks at one line; what go-imap is to see of it becomes pending.
func (c *conn) command(line []byte) error {
	c.pending = line
	words := strings.Fields(string(line))
	if len(words) < 2 {
		return nil
	}
	tag, verb := words[0], strings.ToUpper(words[1])
	switch {
	case verb == "ID":
		return c.instead(c.profile.id + tag + " OK ID completed.\r\n")
	case c.how().loggedIn:
		return nil
	case verb == "STARTTLS" && c.canStartTLS():
		c.pending = nil
		return c.startTLS(tag)
	case (verb == "AUTHENTICATE" || verb == "LOGIN") && c.canStartTLS():
		return c.instead(tag + " NO [PRIVACYREQUIRED] TLS is required to authenticate\r\n")
	case verb == "AUTHENTICATE" && len(words) == 3:
		return c.twoSteps(tag, words[2])
	case verb == "AUTHENTICATE" && len(words) == 4:
		return c.respond(tag, words[2], words[3])
	}
	return nil
}

// instead answers a command that go-imap does not get to see.
func (c *conn) instead(answer string) error {
	c.pending = nil
	return c.say(answer)
}

// respond hands a SASL response to go-imap, which would call one that is no base64 its own bug.
func (c *conn) respond(tag, mechanism, response string) error {
	if _, err := base64.StdEncoding.DecodeString(response); err != nil && response != "=" {
		return c.instead(tag + " BAD Malformed SASL response\r\n")
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
		return c.instead(tag + " BAD AUTHENTICATE cancelled\r\n")
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
	how := c.how()
	switch {
	case how.loseNext:
		fault.ResetConn(c.net())
		return 0, net.ErrClosed
	case how.cut:
		return c.writeCut(p, how.cutBytes)
	}
	out := p
	if !how.verbatim {
		out = c.profile.rewrite(p, how, c.canStartTLS())
	}
	if _, err := c.net().Write(out); err != nil {
		return 0, err
	}
	if how.farewell != nil {
		_ = c.say(string(how.farewell)) // the session is over either way
		return len(p), c.Close()
	}
	return len(p), nil
}

// writeCut holds everything back until the literal has as many bytes as may go out.
func (c *conn) writeCut(p []byte, n int) (int, error) {
	c.cutBuffer = append(c.cutBuffer, p...)
	i := bytes.Index(c.cutBuffer, []byte("}\r\n"))
	if i < 0 || len(c.cutBuffer) < i+3+n {
		return len(p), nil
	}
	_, err := c.net().Write(c.cutBuffer[:i+3+n])
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
