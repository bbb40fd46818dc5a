package outbound

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/fault"
)

// A Ledger counts what mailboxes send, for all workers that share it, so that the providers' limits are kept and not run
// into.
type Ledger interface {
	// Book counts a message against all limits of its mailbox, or says which one is used up and until when; then nothing
	// is counted. A message that alone is more than a limit allows is booked once nothing else counts against that limit.
	Book(ctx context.Context, mailbox string, limits []tokenclient.Limit, c Cost) (Wait, error)
	// Unbook takes back what Book counted at that time, Wait.Booked: the provider did not take it. What has left the window
	// of a limit counts no more as it is.
	Unbook(ctx context.Context, mailbox string, limits []tokenclient.Limit, c Cost, booked time.Time) error
	// Close makes Book say no until a time: the provider asked for it. A later end counts.
	Close(ctx context.Context, mailbox string, until time.Time, why string) error
	// Usage is what counts against the limits now; nothing is booked.
	Usage(ctx context.Context, mailbox string, limits []tokenclient.Limit) (Usage, error)
}

// Usage is what a mailbox has sent.
type Usage struct {
	Now    time.Time         // by the clock that the ledger goes by
	Closed Wait              // the zero value: it is open
	Sent   []map[int64]int64 // for each limit what was sent, by part of its window; see SlotOf
}

// Cost is what a message counts for.
type Cost struct {
	Recipients int64
	Bytes      int64
}

// Of is the cost in a limit's unit.
func (c Cost) Of(u tokenclient.Unit) int64 {
	switch u {
	case tokenclient.Recipients:
		return c.Recipients
	case tokenclient.Bytes:
		return c.Bytes
	}
	return 1
}

// Wait is Book's answer. Without Until the message is booked.
type Wait struct {
	Until  time.Time
	Why    string    // for a person: 30 messages in a minute are used up
	Booked time.Time // when, by the clock that the ledger goes by
}

// Slots is into how many parts the window of a limit is divided. What was sent counts until the part that it was sent in
// has left the window: a sixtieth too long, and never too short.
const Slots = 60

// SlotOf is the number of the part that a moment lies in.
func SlotOf(l tokenclient.Limit, at time.Time) int64 {
	return at.UnixMicro() / slotLength(l).Microseconds()
}

// EndOf is when what was sent in a part counts no more.
func EndOf(l tokenclient.Limit, slot int64) time.Time {
	return time.UnixMicro((slot + 1) * slotLength(l).Microseconds()).Add(l.Window)
}

func slotLength(l tokenclient.Limit) time.Duration { return max(l.Window/Slots, time.Microsecond) }

// Room says when a message of that cost has room beside what was sent, by part of the window; zero: now.
func Room(l tokenclient.Limit, sent map[int64]int64, cost int64, now time.Time) time.Time {
	var total int64
	first, last := int64(0), int64(0)
	for slot, n := range sent {
		if !EndOf(l, slot).After(now) {
			continue
		}
		total += n
		if first == 0 || slot < first {
			first = slot
		}
		last = max(last, slot)
	}
	if total == 0 || total+cost <= l.Most {
		return time.Time{}
	}
	for slot := first; slot < last; slot++ {
		if total -= sent[slot]; total+cost <= l.Most {
			return EndOf(l, slot)
		}
	}
	return EndOf(l, last)
}

// Drained says how long it takes until a whole backlog of that cost has been sent, if it goes out as fast as the limit lets
// it: full windows, one after the other, and what is left of it.
func Drained(l tokenclient.Limit, sent map[int64]int64, cost int64, now time.Time) time.Duration {
	if cost <= 0 {
		return 0
	}
	windows := (cost - 1) / l.Most
	if windows >= int64(math.MaxInt64/l.Window)/2 {
		return math.MaxInt64 // in centuries
	}
	whole := time.Duration(windows) * l.Window
	if at := Room(l, sent, cost-windows*l.Most, now); !at.IsZero() {
		return whole + at.Sub(now)
	}
	return whole
}

// UsedUp is what a person reads while a message waits for a limit.
func UsedUp(l tokenclient.Limit) string {
	return fmt.Sprintf("%d %s in %s are used up", l.Most, l.Unit, span(l.Window))
}

func span(d time.Duration) string {
	switch d {
	case time.Minute:
		return "a minute"
	case 24 * time.Hour:
		return "24 hours"
	}
	return d.String()
}

// QuotaReason is the reason of messages that wait for room in a limit.
const QuotaReason = "SENDING_LIMIT"

// book counts the job against its mailbox's limits and says when that was; the error says how long to wait. A ledger that does
// not answer lets nothing pass: it lives where the outbox does.
func (s *Sender) book(ctx context.Context, l *lane, j Job) (booked time.Time, err error) {
	if s.Ledger == nil {
		return time.Time{}, nil
	}
	w, err := s.room(ctx, l, j)
	switch {
	case err != nil:
		return time.Time{}, fmt.Errorf("book the message: %w", err)
	case w.Until.IsZero():
		return w.Booked, nil
	}
	return time.Time{}, &fault.Error{Kind: fault.Throttled, Reason: QuotaReason, After: max(time.Until(w.Until), time.Millisecond), Err: errWaits{w}}
}

// room books the job. Where no limits are known there is nothing to write down: only what the provider asked for counts.
func (s *Sender) room(ctx context.Context, l *lane, j Job) (Wait, error) {
	if limits := l.settings.Outbound.Limits; len(limits) > 0 {
		return s.Ledger.Book(ctx, j.Mailbox, limits, j.cost())
	}
	u, err := s.Ledger.Usage(ctx, j.Mailbox, nil)
	if err != nil || u.Closed.Until.IsZero() {
		return Wait{}, err
	}
	return Wait{Until: time.Now().Add(u.Closed.Until.Sub(u.Now)), Why: u.Closed.Why}, nil
}

func (j Job) cost() Cost { return Cost{int64(len(j.Envelope.Recipients)), j.Size} }

// unbook gives back what the provider did not take: an outage of some hours, in which each message is tried many times, or a
// credential that somebody must mend, would use up a day's recipients without one of them having got anything.
func (s *Sender) unbook(ctx context.Context, l *lane, j Job, booked time.Time, r Receipt, err error) {
	limits, c := spared(l.settings.Outbound.Limits, j, r, err)
	if booked.IsZero() || len(limits) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Options.Claim/6)
	defer cancel()
	if err := s.Ledger.Unbook(ctx, j.Mailbox, limits, c, booked); err != nil {
		s.Log.Warn("mail that was not sent counts against the mailbox's limits", "mailbox", j.Mailbox, "id", j.ID, "error", err)
	}
}

// budget is the least window of limits on the mail that a provider takes. The shorter ones are on how often it is asked, and
// who was refused has asked.
const budget = time.Hour

// spared is what an attempt did not use up, and of which limits: all of it if nobody got the message, else the refused.
func spared(limits []tokenclient.Limit, j Job, r Receipt, err error) (some []tokenclient.Limit, c Cost) {
	c = Cost{Recipients: int64(len(r.Refused))}
	nobody := err != nil && kindOf(err) != fault.InDoubt
	if nobody {
		c = j.cost()
	}
	for _, l := range limits {
		if l.Window >= budget && (nobody || l.Unit == tokenclient.Recipients && c.Recipients > 0) {
			some = append(some, l)
		}
	}
	return some, c
}

// errWaits is a message that was not offered: there is no room for it yet.
type errWaits struct{ Wait }

func (e errWaits) Error() string { return e.Why }

// waits says whether err is that there was no room.
func waits(err error) bool { return errors.As(err, new(errWaits)) }

// learn closes the mailbox for every worker when the provider asked for patience.
func (s *Sender) learn(ctx context.Context, l *lane, err error) {
	if s.Ledger == nil || kindOf(err) != fault.Throttled || patience(err) <= 0 || waits(err) {
		return
	}
	if err := s.Ledger.Close(ctx, l.settings.Mailbox, time.Now().Add(patience(err)), oneLine(err)); err != nil {
		s.Log.Warn("cannot tell the other workers to wait", "mailbox", l.settings.Mailbox, "error", err)
	}
}
