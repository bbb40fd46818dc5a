package pop3

import (
	"context"
	"fmt"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/inbound"
)

// Source reads one mailbox. One goroutine at a time uses it.
type Source struct {
	config  Config
	session *session // nil = not connected
	walk    *walk    // through the session's maildrop; nil = List did not see it
	page    []inbound.Item
	reached int // position in page of the message that was opened last
}

var (
	_ inbound.Source  = (*Source)(nil)
	_ inbound.Yielder = (*Source)(nil)
)

// New makes a Source; it connects when it is needed. The error joins all complaints about c.
func New(c Config) (*Source, error) {
	c = c.Default()
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("mailbox %s: %w", c.Settings.Mailbox, err)
	}
	return &Source{config: c}, nil
}

// Close ends the session. The Source dials anew when it is used again.
func (s *Source) Close() error {
	if s.session != nil {
		s.session.quit()
		s.session, s.walk = nil, nil
	}
	return nil
}

// Yield implements inbound.Yielder: as long as a session lasts, the server lets nobody else in and shows no new mail.
func (s *Source) Yield() {
	_ = s.Close()
	s.page = nil // a thousand mailboxes may wait in one process
}

// connected is the session, dialled if there is none on which something new may be started.
func (s *Source) connected(ctx context.Context) (*session, error) {
	if s.session.usable() {
		return s.session, nil
	}
	_ = s.Close() // by plan: the token's time is up
	sess, tok, err := tokenclient.Use(ctx, s.config.Broker, s.config.Settings.Ask(), s.connect)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	sess.token, s.session = tok, sess
	return sess, nil
}

// listed is the session with its maildrop known.
func (s *Source) listed(ctx context.Context) (*session, error) {
	sess, err := s.connected(ctx)
	if err != nil || sess.drop != nil {
		return sess, err
	}
	sess.drop, err = sess.uidl(ctx)
	if err != nil {
		sess.drop = nil
		return nil, err
	}
	return sess, nil
}

// List implements inbound.Source.
func (s *Source) List(ctx context.Context, after inbound.Cursor, limit int) (inbound.Page, error) {
	if !s.session.usable() || !s.walk.continues(after) {
		if err := s.start(ctx, after); err != nil {
			return inbound.Page{}, err
		}
	}
	page := s.walk.page(limit)
	s.page, s.reached = page.Items, 0
	return page, nil
}

// start begins a walk behind a cursor, in a new session: one that stands shows what there was at its start.
func (s *Source) start(ctx context.Context, after inbound.Cursor) error {
	seen, err := readCursor(after)
	if err != nil {
		return err
	}
	_ = s.Close()
	sess, err := s.listed(ctx)
	if err != nil {
		return err
	}
	w := newWalk(sess.drop, seen)
	if w.found > 0 {
		if err := sess.sizes(ctx); err != nil {
			return err
		}
	}
	s.walk = w
	return nil
}
