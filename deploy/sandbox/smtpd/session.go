package smtpd

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/mail"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/emersion/go-smtp"

	"mailporter/sandbox/fault"
	"mailporter/sandbox/idp"
	"mailporter/sandbox/mailstore"
)

// session answers one connection; go-smtp makes a new one at EHLO and after STARTTLS.
type session struct {
	server *Server
	conn   net.Conn

	mailbox string // empty: not logged in
	claims  idp.Claims
	from    string
	to      []string
	foreign []string

	counted atomic.Bool // among the open ones
	ended   atomic.Bool // a message did, and no Reset came since
}

var errGone = errors.New("connection was ended")

func (s *Server) newSession(c *smtp.Conn) (smtp.Session, error) {
	s.count(func(st *Stats) { st.Connections++ })
	out := &session{server: s, conn: c.Conn()}
	return out, out.step("connect", "")
}

// Logout implements smtp.Session. go-smtp may call it while a command still runs.
func (s *session) Logout() error {
	if s.counted.CompareAndSwap(true, false) {
		s.server.left(s.mailbox)
	}
	return nil
}

// Reset implements smtp.Session. go-smtp calls it for RSET and at the end of each message.
func (s *session) Reset() {
	s.from, s.to, s.foreign = "", nil, nil
	if !s.ended.CompareAndSwap(true, false) {
		_ = s.step("reset", s.mailbox) // its faults are the connection's
	}
}

// step lets a fault happen. A nil error means: go on.
func (s *session) step(name, mailbox string) error { return s.suffer(s.rule(name, mailbox)) }

func (s *session) rule(step, mailbox string) *fault.Rule {
	return s.server.config.Faults.Take(fault.Point{Target: fault.SMTP, Step: step, Mailbox: mailbox, Client: s.claims.Client})
}

// suffer does what a rule wants; rule may be nil.
func (s *session) suffer(rule *fault.Rule) error {
	if rule == nil {
		return nil
	}
	switch rule.Action {
	case fault.Delay:
		fault.Wait(s.server.ctx, rule.Delay)
	case fault.Stall:
		fault.WaitGone(s.conn)
		return errGone
	case fault.Reset:
		fault.ResetConn(s.conn)
		return errGone
	case fault.LoseAnswer:
		fault.ResetConn(s.conn) // the step still happens; its answer finds no connection
	case fault.RefuseToken:
		return s.badCredential()
	case fault.Reply:
		return replyError(rule.Text)
	}
	return nil
}

// Mail implements smtp.Session.
func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	if s.mailbox == "" {
		if s.server.config.Provider == Gmail {
			return errGmailAuthFirst
		}
		return errNotAuthenticated
	}
	if err := s.step("mail", s.mailbox); err != nil {
		return err
	}
	if !s.maySend(from) {
		return errSendAs
	}
	s.from = from
	return nil
}

// maySend: the empty sender is for reports, which go out in the mailbox's name. Gmail takes any sender, and would write
// the account's own address into the message.
func (s *session) maySend(from string) bool {
	return from == "" || s.server.config.Provider == Gmail ||
		s.server.config.Directory.MaySendAs(s.claims, s.mailbox, from)
}

// Rcpt implements smtp.Session.
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if err := s.step("rcpt", s.mailbox); err != nil {
		return err
	}
	switch {
	case s.server.config.Store.Exists(to):
		s.to = append(s.to, strings.ToLower(to))
	case !s.server.config.Directory.Local(to):
		s.foreign = append(s.foreign, to)
	case s.server.config.Provider == Gmail:
		return errGmailRecipient
	default:
		return errUnknownRecipient
	}
	return nil
}

// Data implements smtp.Session.
func (s *session) Data(r io.Reader) error {
	defer s.ended.Store(true)
	raw, err := s.read(r)
	if err != nil {
		return err
	}
	if err := s.step("data", s.mailbox); err != nil {
		return err
	}
	if err := s.checkFrom(raw); err != nil {
		return err
	}
	if !s.server.config.Sending.Recipients(s.mailbox, len(s.to)+len(s.foreign)) {
		return errRecipientLimit
	}
	fault.Wait(s.server.ctx, s.server.config.Sending.Turn(s.mailbox))
	if err := s.deliver(raw); err != nil {
		return err
	}
	s.server.count(func(st *Stats) { st.Accepted[s.mailbox]++ })
	return s.step("accepted", s.mailbox)
}

// read takes the message in, and lets a fault happen in the midst of it.
func (s *session) read(r io.Reader) ([]byte, error) {
	var raw bytes.Buffer
	if rule := s.rule("body", s.mailbox); rule != nil {
		if _, err := io.CopyN(&raw, r, int64(rule.Bytes)); err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		if err := s.suffer(rule); err != nil {
			return nil, err
		}
	}
	_, err := raw.ReadFrom(r)
	return raw.Bytes(), err
}

// checkFrom: Exchange looks at the From header too.
func (s *session) checkFrom(raw []byte) error {
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return nil //nolint:nilerr // who cannot be read cannot be refused: odd mail must come through
	}
	list, err := m.Header.AddressList("From")
	if err != nil {
		return nil //nolint:nilerr // as above
	}
	for _, a := range list {
		if !s.maySend(a.Address) {
			return errSendAsDenied(s.mailbox, a.Address)
		}
	}
	return nil
}

// deliver puts the message everywhere at once.
func (s *session) deliver(raw []byte) error {
	store := s.server.config.Store
	var targets []mailstore.Target
	slices.Sort(s.to)
	for _, to := range slices.Compact(s.to) { // one copy, however often an address was named
		targets = append(targets, mailstore.Target{Mailbox: to, Folder: mailstore.Inbox})
	}
	delay := s.server.config.SentCopyDelay
	sent := mailstore.Target{Mailbox: s.mailbox, Folder: store.Used(s.mailbox, mailstore.UseSent), Flags: []string{`\Seen`}}
	if sent.Folder != "" && delay == 0 {
		targets = append(targets, sent)
	}
	var out *mailstore.Outbound
	if len(s.foreign) > 0 {
		out = &mailstore.Outbound{From: s.from, To: s.foreign}
	}
	if _, err := store.Deliver(raw, targets, out); err != nil {
		s.server.config.Log.Error("message not stored", "mailbox", s.mailbox, "error", err)
		return refuse(451, 4, 3, 0, "Temporary server error. Please try again later")
	}
	if sent.Folder != "" && delay > 0 {
		s.server.copyLater(raw, sent, delay)
	}
	return nil
}

// copyLater keeps what was sent after a while.
func (s *Server) copyLater(raw []byte, to mailstore.Target, delay time.Duration) {
	s.copies.Go(func() {
		if fault.Wait(s.ctx, delay); s.ctx.Err() != nil {
			return
		}
		if _, err := s.config.Store.Deliver(raw, []mailstore.Target{to}, nil); err != nil {
			s.config.Log.Error("copy not stored", "mailbox", to.Mailbox, "error", err)
		}
	})
}

// Format keeps claims and mail out of logs.
func (s *session) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "smtp session of %s", s.mailbox) }
