package imap

import (
	"context"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
)

// idleRound is the longest IDLE. The library's own restarts after 28 minutes and does not see a dead peer before that;
// Gmail hangs up after about ten.
const idleRound = 9 * time.Minute

// Wait implements inbound.Waiter: by IDLE where it is offered, else by the clock. A session whose token runs out meanwhile
// ends the wait; the next call dials.
func (s *Source) Wait(ctx context.Context, limit time.Duration) error {
	limit = min(limit, idleRound)
	sess, err := s.opened(ctx)
	if err != nil {
		return err
	}
	if until := sess.token.UsableUntil; !until.IsZero() {
		limit = min(limit, time.Until(until))
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	if !sess.caps.Has(goimap.CapIdle) {
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		return ctx.Err()
	}
	return sess.idle(ctx, timer.C)
}

// idle is one round.
func (s *session) idle(ctx context.Context, over <-chan time.Time) error {
	var cmd *imapclient.IdleCommand
	err := s.do(ctx, "idle", func() (err error) {
		cmd, err = s.client.Idle() // returns with the server's +
		return err
	})
	if err != nil {
		return err
	}
	select {
	case <-s.news:
	case <-over:
	case <-ctx.Done():
	case <-s.client.Closed():
	}
	if err := ctx.Err(); err != nil {
		// The answer to DONE is not worth waiting for: the session ends anyway.
		s.conn.Abort()
		<-s.client.Closed()
		_ = cmd.Close()
		return err
	}
	return s.do(ctx, "idle", func() error {
		if err := cmd.Close(); err != nil {
			return err
		}
		return cmd.Wait()
	})
}
