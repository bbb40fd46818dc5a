package outbound

import (
	"context"
	"fmt"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/fault"
)

// Outlook is a mailbox's backlog and how long it will take to send it.
type Outlook struct {
	Backlog
	// ETA is how long it takes until all of it is sent, if its limits are the only thing in the way and attempts take as
	// long as they did lately. What a recipient's server puts off takes longer.
	ETA   time.Duration
	Known bool // whether anybody can tell: not while somebody must act, nor before the first attempt of a mailbox without limits
}

// Outlooks tells what waits, of every mailbox where anything does, whoever serves it. It asks the store each time.
func (s *Sender) Outlooks(ctx context.Context) ([]Outlook, error) {
	backlogs, err := s.Outbox.Backlogs(ctx)
	if err != nil {
		return nil, fmt.Errorf("count what waits: %w", err)
	}
	all := make([]Outlook, len(backlogs))
	for i, b := range backlogs {
		all[i].Backlog = b
		if all[i].ETA, all[i].Known, err = s.eta(ctx, b); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// eta is the later of two ends: what the limits allow, and what the connections carry.
func (s *Sender) eta(ctx context.Context, b Backlog) (eta time.Duration, known bool, err error) {
	l, ok := s.view(b.Mailbox)
	if !ok || l.broken != nil || l.stuck {
		return 0, false, nil
	}
	wait := max(0, time.Until(l.paused))
	if limits := l.settings.Outbound.Limits; s.Ledger != nil {
		u, err := s.Ledger.Usage(ctx, b.Mailbox, limits)
		if err != nil {
			return 0, false, fmt.Errorf("read what %s has sent: %w", b.Mailbox, err)
		}
		known, wait = len(limits) > 0, max(wait, u.Closed.Until.Sub(u.Now))
		for i, limit := range limits {
			eta = max(eta, Drained(limit, u.Sent[i], b.of(limit.Unit), u.Now))
		}
	}
	busy := time.Duration(float64(b.Messages) * float64(l.pace) / float64(l.limit()))
	return max(eta, wait+busy), known || l.pace > 0, nil
}

// of is what the backlog counts for in a limit's unit.
func (b Backlog) of(u tokenclient.Unit) int64 {
	if u == tokenclient.Messages {
		return b.Messages
	}
	return b.Cost.Of(u)
}

// view is a copy of a lane, for reading.
func (s *Sender) view(mailbox string) (lane, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lanes[mailbox]; l != nil {
		return *l, true
	}
	return lane{}, false
}

// learnPace takes the time of an attempt into account; the last eight or so matter. A message that waited for room was
// none. Sender.mu is held.
func (l *lane) learnPace(took time.Duration, err error) {
	switch {
	case waits(err):
		return
	case l.pace == 0:
		l.pace = took
	default:
		l.pace += (took - l.pace) / 8
	}
	l.stuck = err != nil && kindOf(err) == fault.Auth
}
