package smtp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/esmtp"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/wire"
)

// conn is one connection that is logged in. One goroutine at a time.
type conn struct {
	wire       *wire.Conn
	r          *bufio.Reader
	w          *bufio.Writer
	extensions map[string]string // by name in capitals; from the last EHLO
	token      tokenclient.Token // zero if the server asks for none
	silence    time.Duration     // longest silence within a command
	used       bool              // a transaction ended on it
	dirty      bool              // the last transaction was refused midway
}

// defaultSilence is RFC 5321 section 4.5.3.2.2: five minutes for MAIL.
const defaultSilence = 5 * time.Minute

// dial opens a connection up to where transactions may start. tok is zero if the server asks for none.
func dial(ctx context.Context, cfg Config, e tokenclient.Endpoint, tok tokenclient.Token) (*conn, error) {
	ctx, cancel := wire.Within(ctx, e.ConnectTimeout)
	defer cancel()
	o := wire.To(e, cfg.Roots, cfg.Trace)
	raw, err := wire.Dial(ctx, o)
	if err != nil {
		return nil, lost(err)
	}
	stop := context.AfterFunc(ctx, raw.Abort)
	defer stop()
	c := newConn(raw, e.ProtocolTimeout)
	c.token = tok
	if err := c.open(ctx, cfg, e, o.Security); err != nil {
		raw.Abort() // after a refused login some servers wait, others talk: nothing of it is of use
		if ctx.Err() != nil {
			err = context.Cause(ctx) // that the connection was closed tells nobody why
		}
		return nil, fmt.Errorf("%s: %w", o.Address(), err)
	}
	return c, nil
}

func newConn(raw *wire.Conn, silence time.Duration) *conn {
	if silence <= 0 {
		silence = defaultSilence
	}
	raw.Await(silence)
	return &conn{wire: raw, r: bufio.NewReaderSize(raw, esmtp.MaxLine), w: bufio.NewWriterSize(raw, 32<<10), silence: silence}
}

// open greets, secures and logs in.
func (c *conn) open(ctx context.Context, cfg Config, e tokenclient.Endpoint, protection wire.Security) error {
	if err := c.want(220, "greeting")(esmtp.ReadReply(c.r)); err != nil {
		return err
	}
	if err := c.hello(cfg.Hello); err != nil {
		return err
	}
	if protection == wire.StartTLS {
		if err := c.startTLS(ctx); err != nil {
			return err
		}
		// RFC 3207 section 4.2: what was learned in the clear is void.
		if err := c.hello(cfg.Hello); err != nil {
			return err
		}
	}
	if c.token.Value.Empty() {
		return nil
	}
	return c.login(c.token, e.Server, e.Port)
}

// want makes an error of every reply but one with this code.
func (c *conn) want(code int, step string) func(esmtp.Reply, error) error {
	return func(r esmtp.Reply, err error) error {
		switch {
		case err != nil:
			return fmt.Errorf("%s: %w", step, lost(err))
		case r.Code != code:
			return fmt.Errorf("%s: %w", step, classify(r, atOpen))
		}
		return nil
	}
}

// unknownEHLO are the answers of servers that do not take EHLO (RFC 5321 section 4.1.4); HELO they may take.
var unknownEHLO = []int{500, 501, 502, 504, 550}

// hello introduces us and notes what the server offers. Servers that know no EHLO offer nothing.
func (c *conn) hello(name string) error {
	reply, err := c.command("EHLO " + name)
	if err == nil && slices.Contains(unknownEHLO, reply.Code) {
		reply, err = c.command("HELO " + name)
		reply.Lines = nil
	}
	if err := c.want(250, "hello")(reply, err); err != nil {
		return err
	}
	c.extensions = map[string]string{}
	if len(reply.Lines) > 1 {
		c.learn(reply.Lines[1:]) // the first line is the server's name
	}
	return nil
}

// learn notes extensions, one on a line. The mechanisms of AUTH may stand on several lines, and behind "AUTH=", as drafts
// before RFC 2554 had it: servers that were taught to please old Outlooks offer them so, some of them only so.
func (c *conn) learn(lines []string) {
	for _, line := range lines {
		if rest, ok := strings.CutPrefix(strings.ToUpper(line), "AUTH="); ok {
			line = "AUTH " + rest
		}
		word, rest, _ := strings.Cut(line, " ")
		word, rest = strings.ToUpper(word), strings.TrimSpace(rest)
		if word == "AUTH" {
			rest = strings.TrimSpace(c.extensions[word] + " " + rest)
		}
		c.extensions[word] = rest
	}
}

// errInjected: what comes in the clear after the answer to STARTTLS would be taken for an answer within TLS.
var errInjected = errors.New("starttls: the server sent more than an answer")

func (c *conn) startTLS(ctx context.Context) error {
	if !c.offers("STARTTLS") {
		return &fault.Error{
			Kind: fault.Temporary, Reason: "STARTTLS_NOT_OFFERED", Err: errors.New("starttls: the server does not offer it"),
			Remedy: "use ssl-tls with port 465, or enable STARTTLS on the server; mail is never sent in the clear",
		}
	}
	if err := c.want(220, "starttls")(c.command("STARTTLS")); err != nil {
		return err
	}
	if c.r.Buffered() > 0 {
		return fault.New(fault.Temporary, errInjected)
	}
	if err := c.wire.StartTLS(ctx); err != nil {
		return fmt.Errorf("starttls: %w", lost(err))
	}
	return nil
}

func (c *conn) offers(extension string) bool {
	_, ok := c.extensions[extension]
	return ok
}

// maxSize is how large a message the server takes, in bytes; 0 = it does not say (RFC 1870 section 4).
func (c *conn) maxSize() int64 {
	n, err := strconv.ParseInt(c.extensions["SIZE"], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// command sends one line and reads its reply.
func (c *conn) command(line string) (esmtp.Reply, error) {
	if err := c.send(line); err != nil {
		return esmtp.Reply{}, err
	}
	return esmtp.ReadReply(c.r)
}

// send sends lines; their replies are still to be read.
func (c *conn) send(lines ...string) error {
	for _, l := range lines {
		if _, err := c.w.WriteString(l + "\r\n"); err != nil {
			return err
		}
	}
	return c.w.Flush()
}

// alive asks the server whether it is still there.
func (c *conn) alive() bool {
	r, err := c.command("NOOP")
	return err == nil && r.Code == 250
}

// goodbye bounds the end of a connection.
const goodbye = 2 * time.Second

// quit ends the connection in order; the transaction is over, so nothing depends on the answer.
func (c *conn) quit() {
	c.wire.Await(goodbye)
	if _, err := c.command("QUIT"); err != nil {
		c.wire.Abort()
		return
	}
	_ = c.wire.Close() // the server may have closed first
}
