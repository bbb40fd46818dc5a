package imapd

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"

	"mailporter/sandbox/fault"
)

// expiredText is what Exchange Online says when the token of a session ends.
const expiredText = "Session invalidated - AccessTokenExpired"

// session answers the commands of one connection. go-imap calls it from one goroutine, Idle from a second one.
type session struct {
	server *Server
	imap   *imapserver.Conn
	conn   *conn

	mailbox string
	client  string
	// unconnected is the state after a login that Exchange takes although the mailbox will not open.
	unconnected bool
	view        *view // nil: nothing is selected
	polling     sync.Mutex

	mu      sync.Mutex
	busy    bool // a command runs
	expired bool
	ended   chan struct{} // closed when the token has expired
	timer   *time.Timer
}

func (s *Server) newSession(c *imapserver.Conn) (imapserver.Session, *imapserver.GreetingData, error) {
	wrapped, ok := c.NetConn().(*conn)
	if !ok {
		return nil, nil, fmt.Errorf("connection of type %T", c.NetConn())
	}
	if err := s.begin(); err != nil {
		return nil, nil, err
	}
	out := &session{server: s, imap: c, conn: wrapped, ended: make(chan struct{})}
	if err := out.step("connect"); err != nil {
		s.end(wrapped)
		return nil, nil, err
	}
	return out, nil, nil
}

// Close is called once, when the connection is over.
func (s *session) Close() error {
	defer s.server.end(s.conn)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
	}
	if s.conn.how().loggedIn {
		s.server.left(s.mailbox)
	}
	return nil
}

// enter begins a command: nothing works after the token's end or without a mailbox.
func (s *session) enter(step string) error {
	s.mu.Lock()
	expired := s.expired
	s.busy = !expired
	s.mu.Unlock()
	if expired {
		return s.invalid()
	}
	err := s.step(step)
	if err == nil && s.unconnected {
		err = &imap.Error{Type: imap.StatusResponseTypeBad, Text: "User is authenticated but not connected."}
	}
	if err != nil {
		s.leave()
	}
	return err
}

// leave ends a command. If the token ended meanwhile, its answer is the last one.
func (s *session) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = false
	if s.expired {
		s.conn.bid("* BYE " + expiredText + "\r\n")
	}
}

// invalid answers a command that the token's end overtook; the connection closes behind it.
func (s *session) invalid() error {
	s.conn.bid("")
	return &imap.Error{Type: imap.StatusResponseTypeNo, Text: expiredText}
}

func (s *session) isExpired() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expired
}

// expireAt ends the session together with its token.
func (s *session) expireAt(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer = time.AfterFunc(time.Until(t), s.expire)
}

func (s *session) expire() {
	s.server.count(func(st *Stats) { st.Expired++ }) // before the client can see it
	s.mu.Lock()
	s.expired = true
	busy := s.busy
	close(s.ended)
	s.mu.Unlock()
	if !busy {
		_ = s.imap.Bye(expiredText) // the client may be gone by now
	}
}

// step lets a fault happen. A nil error means: go on.
func (s *session) step(name string) error {
	rule := s.server.config.Faults.Take(fault.Point{Target: fault.IMAP, Step: name, Mailbox: s.mailbox, Client: s.client})
	if rule == nil {
		return nil
	}
	switch rule.Action {
	case fault.Delay:
		fault.Wait(s.server.ctx, rule.Delay)
	case fault.Stall:
		if name == "idle" { // go-imap reads there; Idle waits for it
			return nil
		}
		s.conn.waitGone()
		return errGone
	case fault.Reset:
		fault.ResetConn(s.conn)
		return errGone
	case fault.LoseAnswer:
		s.conn.set(func(o *outgoing) { o.loseNext = true })
	case fault.Cut:
		s.conn.set(func(o *outgoing) { o.cut, o.cutBytes = true, rule.Bytes })
	case fault.Bye:
		_ = s.imap.Bye(rule.Text) // the connection is over either way
		return errGone
	case fault.RefuseToken:
		return s.server.profile.failed
	case fault.Reply:
		return statusError(rule.Text)
	case fault.Renumber:
		if err := s.server.config.Store.Renumber(s.mailbox, "INBOX"); err != nil {
			return err
		}
	}
	return nil
}

// statusError makes an error of "NO [CODE] text" or "BAD text"; anything else is the text of a NO.
func statusError(s string) *imap.Error {
	e := &imap.Error{Type: imap.StatusResponseTypeNo}
	if kind, rest, ok := strings.Cut(s, " "); ok && (kind == "NO" || kind == "BAD" || kind == "BYE") {
		e.Type, s = imap.StatusResponseType(kind), rest
	}
	if rest, ok := strings.CutPrefix(s, "["); ok {
		if code, text, ok := strings.Cut(rest, "] "); ok {
			e.Code, s = imap.ResponseCode(code), text
		}
	}
	e.Text = s
	return e
}
