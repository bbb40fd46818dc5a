package pop3

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/wire"
)

// session is one connection, logged in.
type session struct {
	conn   *wire.Conn
	in     *bufio.Reader
	server string // host:port
	caps   capabilities
	token  tokenclient.Token
	silent time.Duration // how long the server may be silent within an exchange
	dead   bool          // the connection broke, or who says what on it is not known any more

	drop   *maildrop // nil = not asked for yet
	flight []int     // numbers of the messages that RETR asked for and that were not read yet, in this order
}

// bufferSize is for what the server sends, in bytes: a line of maxLine must fit.
const bufferSize = 64 << 10

// connect dials and logs in with one token. Nothing is retried here.
func (s *Source) connect(ctx context.Context, tok tokenclient.Token) (*session, error) {
	e, options := s.config.Settings.Endpoint, s.config.wire()
	ctx, cancel := wire.Within(ctx, e.ConnectTimeout)
	defer cancel()
	raw, err := wire.Dial(ctx, options)
	if err != nil {
		return nil, err
	}
	sess := &session{conn: raw, in: bufio.NewReaderSize(raw, bufferSize), server: options.Address(), silent: e.ProtocolTimeout}
	if err := sess.open(ctx, s.config, tok); err != nil {
		sess.abort()
		return nil, err
	}
	return sess, nil
}

// open brings a fresh connection to the TRANSACTION state of RFC 1939.
func (s *session) open(ctx context.Context, c Config, tok tokenclient.Token) error {
	err := s.do(ctx, "greeting", func() error {
		_, err := readReply(s.in)
		return err
	})
	if err != nil {
		return err
	}
	if c.wire().Security == wire.StartTLS {
		if err := s.do(ctx, "STLS", func() error { return s.startTLS(ctx) }); err != nil {
			return err
		}
	}
	if err := s.askCapabilities(ctx); err != nil {
		return err
	}
	if err := s.logIn(ctx, c.Settings.Endpoint, tok); err != nil {
		return err
	}
	// RFC 2449 section 5: what a server can do may be another thing once it knows the user.
	return s.askCapabilities(ctx)
}

// startTLS asks for TLS. What the server can do is not asked before: nobody vouches for the answer, and RFC 2595 section 4
// wants it forgotten afterwards.
func (s *session) startTLS(ctx context.Context) error {
	if _, err := s.command("STLS"); err != nil {
		return err
	}
	if s.in.Buffered() > 0 { // slipped in by somebody to be read after TLS
		return errors.New("the server said something before TLS that belongs after it")
	}
	return s.conn.StartTLS(ctx)
}

// askCapabilities asks CAPA. A server that does not know it has none.
func (s *session) askCapabilities(ctx context.Context) error {
	return s.do(ctx, "CAPA", func() error {
		s.caps = nil
		_, err := s.command("CAPA")
		var no *refused
		if errors.As(err, &no) {
			return nil
		}
		if err == nil {
			s.caps, err = readCapabilities(s.in)
		}
		return err
	})
}

// logIn shows the credential, hidden from the trace.
func (s *session) logIn(ctx context.Context, e tokenclient.Endpoint, tok tokenclient.Token) error {
	s.conn.Private(true)
	defer s.conn.Private(false)
	var err error
	ended := s.do(ctx, "log in", func() error {
		err = s.login(e, tok)
		return err
	})
	return s.deny(tok, ended, err)
}

// do runs one exchange with the server: bounded silence, ended by ctx, the error classified.
func (s *session) do(ctx context.Context, what string, fn func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, s.conn.Abort)
	defer stop()
	s.conn.Await(s.silent)
	defer s.conn.Await(0)
	return s.fail(ctx, what, fn())
}

// send writes commands, each with its line end, at once.
func (s *session) send(commands ...string) error {
	_, err := io.WriteString(s.conn, strings.Join(commands, "\r\n")+"\r\n")
	return err
}

// command sends one and reads its status line; -ERR is a *refused.
func (s *session) command(line string) (reply, error) {
	if err := s.send(line); err != nil {
		return reply{}, err
	}
	return readReply(s.in)
}

// usable says whether something new may be started on the session.
func (s *session) usable() bool { return s != nil && !s.dead && s.token.Usable(time.Now()) }

// abort ends the connection at once. What DELE marked stays: RFC 1939 section 6.
func (s *session) abort() {
	s.dead = true
	s.conn.Abort()
}

// quitWithin bounds the server's goodbye.
const quitWithin = 2 * time.Second

// quit ends the connection politely: a server that is just left keeps the mailbox locked for minutes.
func (s *session) quit() {
	defer s.abort()
	if s.dead {
		return
	}
	stop := time.AfterFunc(quitWithin, s.conn.Abort)
	defer stop.Stop()
	s.conn.Await(quitWithin)
	if err := s.land(); err != nil {
		return
	}
	if _, err := s.command("QUIT"); err == nil { // nothing is marked: the answer changes nothing
		s.awaitClose()
	}
}

// awaitClose waits until the server closes the connection, after its answer to QUIT: only then the lock is off the mailbox,
// and the next session let in (RFC 1939 section 6).
func (s *session) awaitClose() {
	stop := time.AfterFunc(quitWithin, s.conn.Abort)
	defer stop.Stop()
	_, _ = io.Copy(io.Discard, s.in)
}

// uidl asks for the UIDL of every message.
func (s *session) uidl(ctx context.Context) (*maildrop, error) {
	drop := newMaildrop()
	err := s.do(ctx, "UIDL", func() error {
		if _, err := s.command("UIDL"); err != nil {
			return s.withoutUIDL(err)
		}
		return eachLine(s.in, maxNumber, func(line []byte) error {
			number, uidl, err := parseUIDL(line)
			if err == nil {
				drop.add(number, uidl)
			}
			return err
		})
	})
	return drop, err
}

// sizes asks for the size of every message. Exchange estimates them.
func (s *session) sizes(ctx context.Context) error {
	sizes := make(map[int]int64, len(s.drop.messages))
	err := s.do(ctx, "LIST", func() error {
		if _, err := s.command("LIST"); err != nil {
			return err
		}
		return eachLine(s.in, maxNumber, func(line []byte) error {
			number, size, err := parseSize(line)
			sizes[number] = size
			return err
		})
	})
	s.drop.setSizes(sizes)
	return err
}

// has says whether a message is there: an answer to what the server said no to.
func (s *session) has(number int) (bool, error) {
	_, err := s.command(fmt.Sprintf("LIST %d", number))
	var no *refused
	if errors.As(err, &no) {
		return false, nil
	}
	return err == nil, err
}
