package outbound_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/outbound/outboundtest"
)

// letterID is the Message-ID of every letter here.
const letterID = "<1@contoso.example>"

// cabinet is a server that keeps a copy of what it takes, and shows them to who asks.
type cabinet struct {
	*far
	mu     sync.Mutex
	loses  int                // so many answers are lost, the message being taken
	refuse []outbound.Refusal // whom it does not take
	none   bool               // it keeps no copies
	hides  int                // so many looks see nothing
	blind  error              // why nobody can look
	copies []time.Time
	looks  int
	closed int
}

func (c *cabinet) answer(context.Context, string, mail.Envelope) (outbound.Receipt, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.none {
		c.copies = append(c.copies, time.Now())
	}
	r := outbound.Receipt{Refused: c.refuse}
	if c.loses > 0 {
		c.loses--
		return r, reply(fault.InDoubt, "the link broke")
	}
	return r, nil
}

func (c *cabinet) FindSent(_ context.Context, id string, since time.Time) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.looks++
	switch {
	case c.blind != nil:
		return false, c.blind
	case c.hides > 0:
		c.hides--
		return false, nil
	}
	for _, at := range c.copies {
		if id == letterID && !at.Before(since) {
			return true, nil
		}
	}
	return false, nil
}

func (c *cabinet) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed++
	return nil
}

// open starts a Sender over a cabinet.
func (c *cabinet) open(t *testing.T, box *outboundtest.Memory, unknown tokenclient.OnUnknown) {
	t.Helper()
	c.far = newFar()
	c.says(c.answer)
	c.worker(t, box, unknown)
}

// worker starts one and returns what ends it.
func (c *cabinet) worker(t *testing.T, box *outboundtest.Memory, unknown tokenclient.OnUnknown) (stop func()) {
	t.Helper()
	set := settings(support, 1)
	set.Outbound.OnUnknown = unknown
	s := &outbound.Sender{Protocol: "SMTP", Outbox: box, Log: quiet, Board: &outbound.Board{},
		Transport: func(s tokenclient.Settings) (outbound.Transport, error) { return transport{c.far, s.Mailbox}, nil },
		SentItems: func(tokenclient.Settings) (outbound.SentFinder, error) { return c, nil }}
	s.Set([]tokenclient.Settings{set})
	return send(t, s)
}

// write submits a letter whose header names these.
func write(t *testing.T, box *outboundtest.Memory, header string, to ...string) {
	t.Helper()
	e := mail.Envelope{From: support}
	for _, a := range to {
		e.Recipients = append(e.Recipients, mail.Recipient{Address: a})
	}
	if _, err := box.Add(t.Context(), outbound.Submission{Mailbox: support, Envelope: e, Body: strings.NewReader(header + "\r\n\r\nHello.\r\n")}); err != nil {
		t.Fatal(err)
	}
}

const (
	toAnn = "Message-ID: " + letterID + "\r\nTo: " + ann
	toTwo = "Message-ID: " + letterID + "\r\nTo: " + ann + "\r\nCc: " + bob
)

// outcome is what became of a letter after a day.
type outcome struct {
	ann, bob int            // how often they got it
	looks    int            // at least
	left     outbound.State // of ann's, if reason is not empty
	reason   string         // part of why it is left; empty = the outbox is empty
}

// TestLooksBeforeSendingAgain: what was sent is not sent again if anybody can tell; otherwise on-unknown decides.
func TestLooksBeforeSendingAgain(t *testing.T) {
	const retry, hold = tokenclient.RetryUnknown, tokenclient.HoldUnknown
	notAllowed := &tokenclient.Error{Op: "acquire token", Class: tokenclient.WrongConfig, Reason: "POLICY_DENIED", Remedy: "allow it in policy.yaml"}
	for name, c := range map[string]struct {
		cabinet *cabinet
		header  string
		to      []string
		retry   outcome
		hold    outcome
	}{
		"all well":             {&cabinet{}, toAnn, []string{ann}, outcome{ann: 1}, outcome{ann: 1}},
		"lost":                 {&cabinet{loses: 1}, toAnn, []string{ann}, outcome{ann: 1, looks: 1}, outcome{ann: 1, looks: 1}},
		"lost, shown late":     {&cabinet{loses: 1, hides: 3}, toAnn, []string{ann}, outcome{ann: 1, looks: 4}, outcome{ann: 1, looks: 4}},
		"lost, to two":         {&cabinet{loses: 1}, toTwo, []string{ann, bob}, outcome{1, 1, 1, 0, ""}, outcome{1, 1, 1, 0, ""}},
		"lost, with blind one": {&cabinet{loses: 1}, toAnn, []string{ann, bob}, outcome{1, 1, 1, 0, ""}, outcome{1, 1, 1, 0, ""}},
		"no copies are kept": {&cabinet{loses: 1, none: true}, toAnn, []string{ann},
			outcome{ann: 2, looks: 4}, outcome{1, 0, 4, outbound.Unknown, "no copy in the sent items"}},
		"nobody may look": {&cabinet{loses: 1, blind: notAllowed}, toAnn, []string{ann},
			outcome{ann: 2, looks: 4}, outcome{1, 0, 4, outbound.Unknown, "allow it in policy.yaml"}},
		"without Message-ID": {&cabinet{loses: 1}, "To: " + ann, []string{ann},
			outcome{ann: 2}, outcome{1, 0, 0, outbound.Unknown, "no Message-ID"}},
		"to each recipient apart": {&cabinet{loses: 1}, toTwo, []string{ann},
			outcome{ann: 2}, outcome{1, 0, 0, outbound.Unknown, "names others than its envelope"}},
		"a header that cannot be read": {&cabinet{loses: 1}, "Message-ID: " + letterID + "\r\nTo: <<" + ann, []string{ann},
			outcome{ann: 2}, outcome{1, 0, 0, outbound.Unknown, "header cannot be read"}},
		"one refused for good": {&cabinet{loses: 1, refuse: []outbound.Refusal{{Address: bob, Err: reply(fault.Permanent, "550 no")}}}, toTwo, []string{ann, bob},
			outcome{1, 0, 1, outbound.Sent, "550 no"}, outcome{1, 0, 1, outbound.Sent, "550 no"}},
		"one refused for now": {&cabinet{loses: 1, refuse: []outbound.Refusal{{Address: bob, Err: reply(fault.Temporary, "450 later")}}}, toTwo, []string{ann, bob},
			outcome{2, 0, 0, outbound.Sent, "450 later"}, outcome{1, 0, 0, outbound.Unknown, "each of its recipients"}},
	} {
		for unknown, want := range map[tokenclient.OnUnknown]outcome{retry: c.retry, hold: c.hold} {
			t.Run(name+", "+unknown.String(), func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					f, box := &cabinet{loses: c.cabinet.loses, refuse: c.cabinet.refuse, none: c.cabinet.none, hides: c.cabinet.hides, blind: c.cabinet.blind}, &outboundtest.Memory{}
					f.open(t, box, unknown)
					write(t, box, c.header, c.to...)
					after(24 * time.Hour)
					want.check(t, f, box)
				})
			})
		}
	}
}

func (o outcome) check(t *testing.T, c *cabinet, box *outboundtest.Memory) {
	t.Helper()
	if _, took := c.counts(); took[ann] != o.ann || took[bob] != o.bob {
		t.Errorf("took %v, want ann %d and bob %d times", took, o.ann, o.bob)
	}
	if c.looks < o.looks || o.looks == 0 && c.looks > 0 {
		t.Errorf("%d looks, want %d", c.looks, o.looks)
	}
	if o.reason == "" {
		empty(t, box)
		return
	}
	left, reasons := status(t, box), ""
	for _, r := range left.Recipients {
		reasons += r.Reason + "\n"
	}
	if left.Recipients[0].State != o.left || !strings.Contains(reasons, o.reason) {
		t.Errorf("left %+v, want %v because of %q", left, o.left, o.reason)
	}
}

// TestALookThatFails: while nobody can look for a moment, nothing is sent again, and other mail goes on.
func TestALookThatFails(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c, box := &cabinet{loses: 1, blind: reply(fault.Throttled, "try later")}, &outboundtest.Memory{}
		c.open(t, box, tokenclient.HoldUnknown)
		write(t, box, toAnn, ann)
		after(time.Minute)
		write(t, box, "Message-ID: <2@contoso.example>\r\nTo: "+bob, bob)
		after(6 * time.Hour)
		if _, took := c.counts(); took[ann] != 1 || took[bob] != 1 {
			t.Errorf("took %v", took)
		}
		if r := status(t, box).Recipients[0]; r.State != outbound.Unknown || !strings.Contains(r.Reason, "look among the sent items: try later") {
			t.Errorf("left %+v", r)
		}
		c.mu.Lock()
		c.blind = nil
		c.mu.Unlock()
		after(24 * time.Hour)
		empty(t, box)
	})
}

// TestFindersComeAndGo: one for each mailbox that sends in one step; it is closed with the mailbox. Without one mail goes out
// all the same.
func TestFindersComeAndGo(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c, f, made := &cabinet{}, newFar(), 0
		s := &outbound.Sender{Protocol: "SMTP", Outbox: &outboundtest.Memory{}, Log: quiet, Board: &outbound.Board{},
			Transport: func(s tokenclient.Settings) (outbound.Transport, error) {
				if s.Mailbox == sales {
					return drafter{&desk{}}, nil
				}
				return transport{f, s.Mailbox}, nil
			},
			SentItems: func(s tokenclient.Settings) (outbound.SentFinder, error) {
				if made++; s.Outbound.PoolSize == 9 {
					return c, errors.New("no such folder")
				}
				return c, nil
			}}
		s.Set([]tokenclient.Settings{settings(support, 1), settings(sales, 1)})
		if made != 1 {
			t.Errorf("%d finders for one mailbox without drafts", made)
		}
		s.Set([]tokenclient.Settings{settings(support, 9)})
		after(0)
		if made != 2 || c.closed != 1 {
			t.Errorf("%d made, %d closed", made, c.closed)
		}
		s.Set(nil)
		after(0)
		if c.closed != 1 || f.closed != 2 {
			t.Errorf("closed: %d finders, %d transports", c.closed, f.closed)
		}
	})
}

// TestOldCopies: a copy of before is no copy of this message, though it has its Message-ID.
func TestOldCopies(t *testing.T) {
	for name, c := range map[string]struct {
		ago  time.Duration
		want int
	}{
		"of another submission":         {5 * time.Minute, 2},
		"by a clock that is a bit slow": {time.Minute, 1},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				f, box := &cabinet{none: true, loses: 1, copies: []time.Time{time.Now().Add(-c.ago)}}, &outboundtest.Memory{}
				f.open(t, box, tokenclient.RetryUnknown)
				write(t, box, toAnn, ann)
				after(24 * time.Hour)
				outcome{ann: c.want, looks: 1}.check(t, f, box)
			})
		})
	}
}

// TestACopyOfThePartThatWasSent: ann got the message, bob is greylisted, and bob's attempt ends in doubt before the server had
// the message. Ann's copy is none of his.
func TestACopyOfThePartThatWasSent(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		c, box := &cabinet{refuse: []outbound.Refusal{{Address: bob, Err: reply(fault.Temporary, "450 later")}}}, &outboundtest.Memory{}
		c.open(t, box, tokenclient.RetryUnknown)
		write(t, box, toTwo, ann, bob)
		after(10 * time.Second)
		c.mu.Lock()
		c.refuse, c.loses, c.none = nil, 1, true
		c.mu.Unlock()
		after(24 * time.Hour)
		outcome{ann: 1, bob: 2, looks: 3}.check(t, c, box)
	})
}

// TestDeathOfTheWorker: it dies when the server has the message. A copy tells what became of a message to one; of several
// nobody knows who was refused.
func TestDeathOfTheWorker(t *testing.T) {
	for name, c := range map[string]struct {
		header string
		to     []string
		want   outcome
	}{
		"to one": {toAnn, []string{ann}, outcome{ann: 1, looks: 1}},
		"to two": {toTwo, []string{ann, bob}, outcome{ann: 2, bob: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				var died atomic.Bool
				last := "settle"
				box := &outboundtest.Memory{Before: func(step string) error {
					if died.Load() || step == last { // from here on nothing of it has any effect
						died.Store(true)
						return errors.New("dead")
					}
					return nil
				}}
				f := &cabinet{far: newFar()}
				f.says(f.answer)
				write(t, box, c.header, c.to...)
				stop := f.worker(t, box, tokenclient.RetryUnknown)
				after(2 * time.Minute)
				stop()
				last = ""
				died.Store(false)
				f.worker(t, box, tokenclient.RetryUnknown)
				after(24 * time.Hour)
				c.want.check(t, f, box)
			})
		})
	}
}
