package imap

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/wire"
)

// session is one connection, logged in.
type session struct {
	conn   *quirks
	client *imapclient.Client
	caps   goimap.CapSet
	token  tokenclient.Token
	silent time.Duration // how long the server may be silent within a command
	dead   bool          // a command failed for another reason than the server's no

	selected string // "" = none
	validity uint32
	next     goimap.UID    // UIDNEXT as far as it is known, 0 = unknown
	news     chan struct{} // has a value when the server told of a change since it was emptied

	named     bool   // prefix and delimiter are known
	prefix    string // of the folders of one's own: "INBOX."
	delimiter rune   // between the levels of a folder's name, 0 = there are none
}

// connect dials and logs in with one token. Nothing is retried here.
func (s *Source) connect(ctx context.Context, tok tokenclient.Token) (*session, error) {
	e := s.config.Settings.Endpoint
	ctx, cancel := wire.Within(ctx, e.ConnectTimeout)
	defer cancel()
	raw, err := wire.Dial(ctx, s.config.wire())
	if err != nil {
		return nil, err
	}
	sess := &session{conn: newQuirks(raw), silent: e.ProtocolTimeout, news: make(chan struct{}, 1)}
	if err := sess.open(ctx, s.config, tok); err != nil {
		sess.abort()
		return nil, err
	}
	return sess, nil
}

// open brings a fresh connection to the authenticated state.
func (s *session) open(ctx context.Context, c Config, tok tokenclient.Token) error {
	stop := context.AfterFunc(ctx, s.conn.Abort)
	defer stop()
	s.conn.Await(s.silent)
	defer s.conn.Await(0)
	if c.wire().Security == wire.StartTLS {
		if err := s.conn.startTLS(ctx); err != nil {
			return s.fail(ctx, "STARTTLS", err)
		}
	}
	s.client = imapclient.New(s.conn, &imapclient.Options{UnilateralDataHandler: &imapclient.UnilateralDataHandler{
		Mailbox: func(*imapclient.UnilateralDataMailbox) { s.tell() },
		Expunge: func(uint32) { s.tell() },
	}})
	if err := s.client.WaitGreeting(); err != nil {
		return s.fail(ctx, "greeting", err)
	}
	if s.client.State() != goimap.ConnStateNotAuthenticated {
		return errPreauth
	}
	s.conn.Private(true)
	err := login(s.client, c.Settings.Endpoint, tok)
	s.conn.Private(false)
	if err != nil {
		return s.refused(ctx, tok, err)
	}
	return s.learnCapabilities(ctx)
}

// learnCapabilities waits for those that are offered after login: Exchange has MOVE only there. The library tells of the
// login before it forgets the old ones, and reads nothing more until it has: once another answer is here, it has.
func (s *session) learnCapabilities(ctx context.Context) error {
	var said *goimap.Error
	if err := s.client.Noop().Wait(); err != nil && !errors.As(err, &said) {
		return s.fail(ctx, "NOOP", err)
	}
	if s.caps = s.client.Caps(); s.caps == nil {
		return s.fail(ctx, "CAPABILITY", errors.New("no answer"))
	}
	return nil
}

func (s *session) tell() {
	select {
	case s.news <- struct{}{}:
	default:
	}
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
	err := s.fail(ctx, what, fn())
	var said *goimap.Error
	if err != nil && (!errors.As(err, &said) || errors.Is(err, inbound.ErrSessionOver)) {
		s.dead = true // the client may take a moment longer to notice
	}
	return err
}

// alive says whether the connection still stands, as far as is known.
func (s *session) alive() bool {
	if s.dead {
		return false
	}
	select {
	case <-s.client.Closed():
		return false
	default:
		return true
	}
}

// abort ends the connection at once and waits for the client's goroutine. A client with an unread message in it cannot be
// closed by its own Close: it would wait for the reader.
func (s *session) abort() {
	s.conn.Abort()
	if s.client != nil {
		<-s.client.Closed()
	}
}

// logoutWithin bounds the server's goodbye.
const logoutWithin = 2 * time.Second

// logout ends the connection politely: Exchange counts connections that just vanish for a while longer.
func (s *session) logout() {
	if s.alive() {
		s.conn.Await(logoutWithin)
		stop := time.AfterFunc(logoutWithin, s.conn.Abort)
		defer stop.Stop()
		_ = s.client.Logout().Wait() // the connection goes either way
	}
	s.abort()
}

// quirks stands between the client library and the wire.
type quirks struct {
	*wire.Conn
	answers answers // over Conn, once startTLS is done

	mu   sync.Mutex
	tail []byte // what was read last
}

// tailSize is how much of the end is kept, in bytes: enough for a BYE line.
const tailSize = 1024

func newQuirks(c *wire.Conn) *quirks {
	return &quirks{Conn: c, answers: answers{in: bufio.NewReaderSize(c, maxLine)}}
}

// Read keeps the end of what came: the library drops the text of BYE, and that is where servers say why.
func (q *quirks) Read(p []byte) (int, error) {
	n, err := q.answers.Read(p)
	q.keep(p[max(0, n-tailSize):n])
	return n, err
}

// keep adds to the tail what came last.
func (q *quirks) keep(last []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if over := len(q.tail) + len(last) - tailSize; over > 0 {
		q.tail = q.tail[:copy(q.tail, q.tail[over:])]
	}
	q.tail = append(q.tail, last...)
}

// Write corrects the answer to an error challenge: the library sends "=" for an empty one, and strict servers say BAD to
// that instead of telling what is wrong.
func (q *quirks) Write(p []byte) (int, error) {
	if string(p) != "=\r\n" {
		return q.Conn.Write(p)
	}
	_, err := q.Conn.Write(p[1:])
	return len(p), err
}

// SetReadDeadline ignores the library's own time-outs: five minutes for a message, however slowly it comes. Await bounds
// silence instead.
func (q *quirks) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline is ignored for the same reason.
func (q *quirks) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline is ignored for the same reason.
func (q *quirks) SetDeadline(time.Time) error { return nil }

// bye is the text of the last BYE among the last lines, or empty.
func (q *quirks) bye() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	lines := bytes.Split(bytes.TrimRight(q.tail, "\r\n"), []byte("\n"))
	for _, line := range lines[max(0, len(lines)-2):] { // a BYE may be followed by a tagged line
		if text, ok := cutPrefixFold(string(bytes.TrimSpace(line)), "* BYE"); ok {
			return strings.TrimSpace(text)
		}
	}
	return ""
}

func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return "", false
	}
	return s[len(prefix):], true
}

// startTLS asks for TLS before the library sees the connection: under the library's own STARTTLS, quirks would stand on
// the wrong side of the encryption.
func (q *quirks) startTLS(ctx context.Context) error {
	greeting, err := q.line()
	if err != nil {
		return err
	}
	if err := welcome(greeting); err != nil {
		return err
	}
	if _, err := io.WriteString(q.Conn, "S STARTTLS\r\n"); err != nil {
		return err
	}
	for {
		line, err := q.line()
		if err != nil {
			return err
		}
		if answer, ok := cutPrefixFold(line, "S "); ok {
			if _, ok := cutPrefixFold(answer, "OK"); !ok {
				return &goimap.Error{Type: goimap.StatusResponseTypeNo, Text: answer}
			}
			break
		}
	}
	if err := q.StartTLS(ctx); err != nil {
		return err
	}
	q.answers.said = []byte("* OK TLS\r\n") // no second greeting comes; the library waits for one
	return nil
}

// welcome says what is wrong with a greeting.
func welcome(greeting string) error {
	if _, ok := cutPrefixFold(greeting, "* OK"); ok {
		return nil
	}
	if _, ok := cutPrefixFold(greeting, "* PREAUTH"); ok {
		return errPreauth
	}
	if text, ok := cutPrefixFold(greeting, "* BYE"); ok {
		code, text := responseCode(strings.TrimSpace(text))
		return &goimap.Error{Type: goimap.StatusResponseTypeBye, Code: code, Text: text}
	}
	return fmt.Errorf("greeting %q", printable(greeting))
}

// maxLine bounds a line before login, in bytes.
const maxLine = 4096

// line reads one line and not a byte more: what comes after it may be TLS, and what an attacker slipped in before TLS
// must not be read after it.
func (q *quirks) line() (string, error) {
	var line []byte
	one := make([]byte, 1)
	for len(line) < maxLine {
		if _, err := io.ReadFull(q.Conn, one); err != nil {
			return "", err
		}
		if one[0] == '\n' {
			return strings.TrimRight(string(line), "\r"), nil
		}
		line = append(line, one[0])
	}
	return "", errors.New("a line without end")
}
