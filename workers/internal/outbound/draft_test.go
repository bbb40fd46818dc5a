package outbound_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/outbound/outboundtest"
)

// desk is a server that sends in two steps.
type desk struct {
	mu      sync.Mutex
	drafts  map[string]outbound.Fate
	drafted int
	sent    int
	looks   int
	loses   int                // so many answers to SendDraft are lost, the message being sent
	refuses error              // the next SendDraft's answer, the message not being sent
	hides   int                // so many looks see nothing
	removes bool               // somebody removes what was sent
	before  func(draft string) // before a SendDraft
}

type drafter struct{ *desk }

func (d drafter) Draft(context.Context, mail.Envelope, mail.Body) (string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drafted++
	id := fmt.Sprint("draft-", d.drafted)
	d.drafts[id] = outbound.Waiting
	return id, nil
}

func (d drafter) SendDraft(_ context.Context, draft string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.before != nil {
		d.before(draft)
	}
	if err := d.refuses; err != nil {
		d.refuses = nil
		return err
	}
	if d.drafts[draft] != outbound.Waiting {
		return reply(fault.Permanent, "there is no such draft")
	}
	d.sent++
	d.drafts[draft] = outbound.Gone
	if d.removes {
		delete(d.drafts, draft)
	}
	if d.loses > 0 {
		d.loses--
		return reply(fault.InDoubt, "the link broke")
	}
	return nil
}

func (d drafter) Look(_ context.Context, draft string) (outbound.Fate, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.looks++
	if d.hides > 0 {
		d.hides--
		return outbound.Vanished, nil
	}
	return d.drafts[draft], nil
}

func (d drafter) Send(context.Context, mail.Envelope, mail.Body) (outbound.Receipt, error) {
	return outbound.Receipt{}, errors.New("nobody asked for both steps at once")
}

func (d drafter) Close() error { return nil }

// atDesk runs a Sender over a desk for a day.
func atDesk(t *testing.T, d *desk, unknown tokenclient.OnUnknown) *outboundtest.Memory {
	box := &outboundtest.Memory{}
	onDesk(t, d, box, unknown)
	submit(t, box, support, ann, bob)
	after(24 * time.Hour)
	return box
}

func onDesk(t *testing.T, d *desk, box *outboundtest.Memory, unknown tokenclient.OnUnknown) {
	t.Helper()
	if d.drafts == nil {
		d.drafts = map[string]outbound.Fate{}
	}
	set := settings(support, 1)
	set.Outbound.OnUnknown = unknown
	s := &outbound.Sender{Protocol: "GRAPH", Outbox: box, Log: quiet, Board: &outbound.Board{},
		Transport: func(tokenclient.Settings) (outbound.Transport, error) { return drafter{d}, nil }}
	s.Set([]tokenclient.Settings{set})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

// TestInTwoSteps: whatever happens to an answer, the message is sent once.
func TestInTwoSteps(t *testing.T) {
	for name, d := range map[string]*desk{
		"all well":                          {},
		"the answer is lost":                {loses: 1},
		"lost, and shown with some delay":   {loses: 1, hides: 2},
		"not now":                           {refuses: reply(fault.Throttled, "429")},
		"the link broke, nothing was sent":  {refuses: reply(fault.InDoubt, "cut")},
		"cut, nothing sent, shown too late": {refuses: reply(fault.InDoubt, "cut"), hides: 3},
	} {
		for _, unknown := range []tokenclient.OnUnknown{tokenclient.RetryUnknown, tokenclient.HoldUnknown} {
			t.Run(name, func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					d := &desk{loses: d.loses, hides: d.hides, refuses: d.refuses}
					empty(t, atDesk(t, d, unknown))
					if d.sent != 1 || d.drafted != 1 {
						t.Errorf("drafted %d times, sent %d times", d.drafted, d.sent)
					}
				})
			})
		}
	}
}

// TestADraftThatVanished: what may be sent and is nowhere to be found is sent again, or held, as is configured.
func TestADraftThatVanished(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		d := &desk{loses: 1, removes: true}
		empty(t, atDesk(t, d, tokenclient.RetryUnknown))
		if d.sent != 2 || d.looks < 4 {
			t.Errorf("sent %d times after %d looks", d.sent, d.looks)
		}
	})
	inBubble(t, func(t *testing.T) {
		d := &desk{loses: 1, removes: true}
		left := status(t, atDesk(t, d, tokenclient.HoldUnknown))
		if d.sent != 1 || left.Recipients[0].State != outbound.Unknown || !left.Next.IsZero() {
			t.Errorf("sent %d times; left %+v", d.sent, left)
		}
	})
}

// TestDeathBetweenTheSteps: the worker dies at each step, and the next one goes on where it was.
func TestDeathBetweenTheSteps(t *testing.T) {
	for _, step := range []string{"claim", "open", "drafted", "settle"} {
		t.Run(step, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				var mu sync.Mutex
				died := false
				box := &outboundtest.Memory{Before: func(at string) error {
					mu.Lock()
					defer mu.Unlock()
					if died || at == step { // from here on nothing of it has any effect
						died = true
						return errors.New("dead")
					}
					return nil
				}}
				d := &desk{}
				submit(t, box, support, ann, bob)
				onDesk(t, d, box, tokenclient.RetryUnknown)
				after(2 * time.Minute)
				mu.Lock()
				step, died = "", false
				mu.Unlock()
				after(24 * time.Hour)
				empty(t, box)
				if d.sent != 1 {
					t.Errorf("sent %d times", d.sent)
				}
			})
		})
	}
}

// TestADraftIsRememberedBeforeItIsSent: otherwise a crash would leave something sent that nobody knows of.
func TestADraftIsRememberedBeforeItIsSent(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var steps []string
		box := &outboundtest.Memory{Before: func(step string) error {
			if step == "drafted" {
				steps = append(steps, step)
			}
			return nil
		}}
		d := &desk{before: func(string) { steps = append(steps, "send") }}
		onDesk(t, d, box, tokenclient.RetryUnknown)
		submit(t, box, support, ann)
		after(time.Hour)
		if len(steps) != 2 || steps[0] != "drafted" {
			t.Errorf("steps %v", steps)
		}
	})
}

// TestARefusalAfterTheDraftIsFinal: a draft that will never be sent dies with its reason, and is not called in doubt.
func TestARefusalAfterTheDraftIsFinal(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		d := &desk{refuses: reply(fault.Permanent, "ErrorInvalidRecipients")}
		left := status(t, atDesk(t, d, tokenclient.RetryUnknown))
		if d.sent != 0 || left.Recipients[0].State != outbound.Dead {
			t.Errorf("%+v", left)
		}
	})
}

// finder is a desk whose server can be asked for drafts.
type finder struct {
	drafter
	found string // what FindDraft says
	asked *int
}

// Draft makes a draft, of which the first answer is lost.
func (f finder) Draft(ctx context.Context, e mail.Envelope, b mail.Body) (string, error) {
	id, err := f.drafter.Draft(ctx, e, b)
	if id == "draft-1" {
		return "", reply(fault.Temporary, "the link broke")
	}
	return id, err
}

func (f finder) FindDraft(_ context.Context, e mail.Envelope, b mail.Body, since time.Time) (string, error) {
	*f.asked++
	if len(e.Recipients) != 2 || since.IsZero() || readable(b) != nil {
		return "", errors.New("this is no message")
	}
	return f.found, nil
}

// TestStrayDraft: a draft whose answer was lost is sent in place of a second one, where it is found. Nobody looks for the drafts
// of a first attempt.
func TestStrayDraft(t *testing.T) {
	for name, tc := range map[string]struct {
		found   string
		drafted int
	}{"found": {"draft-1", 1}, "not found": {"", 2}} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				d, box, asked := &desk{drafts: map[string]outbound.Fate{}}, &outboundtest.Memory{}, 0
				s := &outbound.Sender{Protocol: "GRAPH", Outbox: box, Log: quiet,
					Transport: func(tokenclient.Settings) (outbound.Transport, error) {
						return finder{drafter{d}, tc.found, &asked}, nil
					}}
				s.Set([]tokenclient.Settings{settings(support, 1)})
				send(t, s)
				submit(t, box, support, ann, bob)
				after(time.Hour)
				if d.sent != 1 || d.drafted != tc.drafted || asked != 1 || len(box.States()) != 0 {
					t.Errorf("drafted %d, sent %d, looked %d times; %v", d.drafted, d.sent, asked, box.States())
				}
			})
		})
	}
}
