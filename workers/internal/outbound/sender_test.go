package outbound_test

import (
	"context"
	"errors"
	"fmt"
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

func TestSends(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := run(t, &outboundtest.Memory{}, newFar(), settings(support, 3))
		submit(t, b.box, support, ann, bob)
		after(0)
		empty(t, b.box)
		if _, took := b.far.counts(); took[ann] != 1 || took[bob] != 1 {
			t.Errorf("took %v", took)
		}
		if s := b.Board.List()[0]; s.State != "ready" || s.Sent != 1 || s.Running != 0 || s.LastSuccess.IsZero() {
			t.Errorf("status %+v", s)
		}
	})
}

// What waited in the store when the worker started is sent too.
func TestSendsWhatWaited(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		box := &outboundtest.Memory{}
		for range 50 {
			submit(t, box, support, ann)
		}
		f := newFar()
		f.says(func(context.Context, string, mail.Envelope) (outbound.Receipt, error) {
			<-time.After(time.Second) // as long as a server may take
			return outbound.Receipt{}, nil
		})
		b := run(t, box, f, settings(support, 3))
		after(time.Minute)
		empty(t, box)
		if b.far.peak[support] != 3 {
			t.Errorf("%d side by side, want 3", b.far.peak[support])
		}
	})
}

func TestMailboxesDoNotBlockEachOther(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFar()
		f.says(func(ctx context.Context, mailbox string, _ mail.Envelope) (outbound.Receipt, error) {
			if mailbox == support {
				<-ctx.Done() // as slow as can be
				return outbound.Receipt{}, ctx.Err()
			}
			return outbound.Receipt{}, nil
		})
		b := run(t, &outboundtest.Memory{}, f, settings(support, 1), settings(sales, 2))
		for range 5 {
			submit(t, b.box, support, ann)
			submit(t, b.box, sales, bob)
		}
		after(time.Hour)
		if _, took := f.counts(); took[bob] != 5 || took[ann] != 0 {
			t.Errorf("took %v", took)
		}
		if f.peak[support] != 1 || f.offers != 6 {
			t.Errorf("peak %d, offers %d: a slow send must keep its claim", f.peak[support], f.offers)
		}
	})
}

// TestTheBrokerComesBack: mail goes out soon after, however long it was away, and is not asked for message by message meanwhile.
func TestTheBrokerComesBack(t *testing.T) {
	away := &tokenclient.Error{Op: "acquire token", Class: tokenclient.Transient, Code: "UNAVAILABLE"}
	for name, err := range map[string]error{"with each message": away, "before any message": outbound.Unreachable(away)} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				f, box := newFar(), &outboundtest.Memory{}
				f.fails(err)
				s := &outbound.Sender{Protocol: "SMTP", Outbox: box, Log: quiet, Options: outbound.Options{GiveUp: time.Hour}}
				start(t, s, box, f, settings(support, 2))
				for range 50 {
					submit(t, box, support, ann)
				}
				after(3 * time.Hour)
				if offers, _ := f.counts(); offers > 2*(1+3*3600/10) {
					t.Errorf("%d attempts without a token", offers)
				}
				f.fails(nil)
				after(time.Minute)
				empty(t, box)
				if _, took := f.counts(); took[ann] != 50 {
					t.Errorf("%d of 50 were sent", took[ann])
				}
			})
		})
	}
}

func TestOutcomes(t *testing.T) {
	human := &tokenclient.Error{Op: "acquire token", Class: tokenclient.NeedsAdmin, Reason: "CLIENT_SECRET_EXPIRED", Remedy: "renew the secret", Code: "FAILED_PRECONDITION"}
	for name, c := range map[string]struct {
		err      error
		receipt  outbound.Receipt
		want     string        // the recipients' states
		next     time.Duration // of the next attempt, within a fifth; 0 = none
		attempts int
	}{
		"refused for now":     {err: reply(fault.Temporary, "451 later"), want: "deferred deferred", next: 3 * time.Second, attempts: 1},
		"unknown error":       {err: errors.New("cut"), want: "deferred deferred", next: 3 * time.Second, attempts: 1},
		"refused for good":    {err: reply(fault.Permanent, "554 no"), want: "dead dead", attempts: 1},
		"in doubt":            {err: reply(fault.InDoubt, "cut"), want: "unknown unknown", next: 3 * time.Second, attempts: 1},
		"throttled":           {err: &fault.Error{Kind: fault.Throttled, After: 10 * time.Minute, Err: errors.New("432")}, want: "deferred deferred", next: 11 * time.Minute, attempts: 1},
		"throttled, no time":  {err: reply(fault.Throttled, "432"), want: "deferred deferred", next: 3 * time.Second, attempts: 1},
		"credential refused":  {err: reply(fault.Auth, "535"), want: "deferred deferred", next: time.Minute},
		"credential is dead":  {err: human, want: "deferred deferred", next: time.Minute},
		"broker is away":      {err: &tokenclient.Error{Class: tokenclient.Transient}, want: "deferred deferred", next: 10 * time.Second},
		"provider throttles":  {err: &tokenclient.Error{Class: tokenclient.Throttled, Wait: time.Hour}, want: "deferred deferred", next: 66 * time.Minute},
		"one dead":            {receipt: outbound.Receipt{Refused: []outbound.Refusal{{Address: bob, Err: reply(fault.Permanent, "550")}}}, want: "sent dead", attempts: 1},
		"one later":           {receipt: outbound.Receipt{Refused: []outbound.Refusal{{Address: bob, Err: reply(fault.Temporary, "450")}}}, want: "sent deferred", next: time.Minute, attempts: 1},
		"one much later":      {receipt: outbound.Receipt{Refused: []outbound.Refusal{{Address: bob, Err: &fault.Error{Kind: fault.Throttled, After: time.Hour, Err: errors.New("450")}}}}, want: "sent deferred", next: time.Hour, attempts: 1},
		"one dead, one later": {receipt: outbound.Receipt{Refused: []outbound.Refusal{{Address: ann, Err: reply(fault.Permanent, "550")}, {Address: bob, Err: reply(fault.Temporary, "450")}}}, want: "dead deferred", next: time.Minute, attempts: 1},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				f := newFar()
				f.says(func(context.Context, string, mail.Envelope) (outbound.Receipt, error) { return c.receipt, c.err })
				b := run(t, &outboundtest.Memory{}, f, settings(support, 1))
				submit(t, b.box, support, ann, bob)
				after(0)
				s := status(t, b.box)
				if got := s.Recipients[0].State.String() + " " + s.Recipients[1].State.String(); got != c.want {
					t.Errorf("%s, want %s", got, c.want)
				}
				if s.Attempts != c.attempts {
					t.Errorf("%d attempts, want %d", s.Attempts, c.attempts)
				}
				if s.Next.IsZero() != (c.next == 0) {
					t.Fatalf("next %v", s.Next)
				}
				if wait := time.Until(s.Next); c.next > 0 && (wait < c.next-c.next/5 || wait > c.next+c.next/5) {
					t.Errorf("next in %v, want about %v", wait, c.next)
				}
			})
		})
	}
}

func TestComesBackWhenDue(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFar()
		f.fails(reply(fault.Temporary, "451 later"))
		b := run(t, &outboundtest.Memory{}, f, settings(support, 1))
		submit(t, b.box, support, ann)
		after(20 * time.Minute)
		offers, _ := f.counts()
		if offers < 4 || offers > 8 {
			t.Errorf("%d attempts in 20 minutes", offers)
		}
		f.fails(nil)
		after(time.Hour)
		empty(t, b.box)
		if _, took := f.counts(); took[ann] != 1 {
			t.Errorf("took %v", took)
		}
	})
}

// Five days of refusals end it; the reason of the last one is kept.
func TestGivesUp(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFar()
		f.fails(reply(fault.Temporary, "451 later"))
		b := run(t, &outboundtest.Memory{}, f, settings(support, 1))
		submit(t, b.box, support, ann)
		after(4 * 24 * time.Hour)
		if s := status(t, b.box); s.Recipients[0].State != outbound.Deferred {
			t.Errorf("after four days: %+v", s)
		}
		after(2 * 24 * time.Hour)
		if r := status(t, b.box).Recipients[0]; r.State != outbound.Dead || r.Reason != "gave up after 5 days: 451 later" {
			t.Errorf("%+v", r)
		}
		if offers, _ := f.counts(); offers > 45 {
			t.Errorf("%d attempts", offers)
		}
	})
}

// Mail does not die because nobody renewed a secret, and the mailbox's queue does not knock one by one.
func TestWaitsForAHuman(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFar()
		f.fails(&fault.Error{Kind: fault.Auth, Reason: "SMTP_AUTH_DISABLED", Remedy: "allow it", Err: errors.New("535 5.7.139")})
		b := run(t, &outboundtest.Memory{}, f, settings(support, 1), settings(sales, 1))
		for range 20 {
			submit(t, b.box, support, ann)
		}
		after(10 * time.Minute)
		if offers, _ := f.counts(); offers > 12 {
			t.Errorf("%d attempts in ten minutes, want about one a minute", offers)
		}
		s := b.Board.List()[1]
		if s.Mailbox != support || s.State != "paused" || s.Problem == nil || s.Problem.Reason != "SMTP_AUTH_DISABLED" || s.Problem.Remedy != "allow it" {
			t.Errorf("status %+v %+v", s, s.Problem)
		}
		all, err := b.box.List(t.Context(), "", 1)
		if err != nil || !strings.Contains(all[0].Recipients[0].Reason, "allow it") {
			t.Errorf("reason %+v, %v", all, err)
		}
		after(6 * 24 * time.Hour)
		f.fails(nil)
		after(5 * time.Minute)
		empty(t, b.box)
		if _, took := f.counts(); took[ann] != 20 {
			t.Errorf("took %v", took)
		}
	})
}

func TestNewSettingsEndAPause(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFar()
		f.fails(reply(fault.Auth, "535"))
		b := run(t, &outboundtest.Memory{}, f, settings(support, 1))
		submit(t, b.box, support, ann)
		after(time.Second)
		f.fails(nil)
		changed := settings(support, 2)
		b.Set([]tokenclient.Settings{changed})
		submit(t, b.box, support, bob)
		after(0)
		if _, took := f.counts(); took[bob] != 1 {
			t.Errorf("took %v", took)
		}
		if f.closed != 1 {
			t.Errorf("%d transports closed, want the old one", f.closed)
		}
	})
}

func TestSettingsThatCannotWork(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		box := &outboundtest.Memory{}
		s := &outbound.Sender{
			Protocol: "SMTP", Outbox: box, Log: quiet, Board: &outbound.Board{},
			Transport: func(tokenclient.Settings) (outbound.Transport, error) { return nil, errors.New("port 0: use 587") },
		}
		s.Set([]tokenclient.Settings{settings(support, 1)})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); s.Run(ctx) }()
		submit(t, box, support, ann)
		after(time.Minute)
		if r := status(t, box).Recipients[0]; r.State != outbound.Queued {
			t.Errorf("%+v", r)
		}
		if p := s.Board.List()[0].Problem; p == nil || p.Text != "port 0: use 587" {
			t.Errorf("problem %+v", p)
		}
		cancel()
		<-done
	})
}

// A mailbox that goes away keeps its mail.
func TestMailboxGoesAway(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := run(t, &outboundtest.Memory{}, newFar(), settings(support, 1))
		b.Set(nil)
		submit(t, b.box, support, ann)
		after(time.Hour)
		if offers, _ := b.far.counts(); offers != 0 || len(b.Board.List()) != 0 {
			t.Errorf("%d offers, %v", offers, b.Board.List())
		}
		b.Set([]tokenclient.Settings{settings(support, 1)})
		after(0)
		empty(t, b.box)
	})
}

func TestInDoubtIsSentAgain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFar()
		f.fails(reply(fault.InDoubt, "cut"))
		b := run(t, &outboundtest.Memory{}, f, settings(support, 1))
		submit(t, b.box, support, ann)
		after(0)
		f.fails(reply(fault.Temporary, "451"))
		after(5 * time.Second)
		if r := status(t, b.box).Recipients[0]; r.State != outbound.Unknown || r.Reason != "451" {
			t.Errorf("a refusal now does not end the doubt of before: %+v", r)
		}
		f.fails(nil)
		after(time.Hour)
		empty(t, b.box)
		if _, took := f.counts(); took[ann] != 2 {
			t.Errorf("took %v, want twice: the second was marked", took)
		}
	})
}

func TestInDoubtIsHeld(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFar()
		f.fails(reply(fault.InDoubt, "cut"))
		set := settings(support, 1)
		set.Outbound.OnUnknown = tokenclient.HoldUnknown
		b := run(t, &outboundtest.Memory{}, f, set)
		submit(t, b.box, support, ann)
		after(2 * 24 * time.Hour)
		if s := status(t, b.box); s.Recipients[0].State != outbound.Unknown || !s.Next.IsZero() {
			t.Errorf("%+v", s)
		}
		if offers, _ := f.counts(); offers != 1 {
			t.Errorf("%d offers", offers)
		}
	})
}

// The store fails at each step in turn: nothing is lost, and what is sent twice was in doubt.
func TestStoreFailsAtEachStep(t *testing.T) {
	for _, step := range []string{"claim", "open", "extend", "settle", "next"} {
		for _, times := range []int{1, 3, 1000} {
			t.Run(fmt.Sprintf("%s %d times", step, times), func(t *testing.T) {
				inBubble(t, func(t *testing.T) {
					var mu sync.Mutex
					left := times
					box := &outboundtest.Memory{Before: func(s string) error {
						mu.Lock()
						defer mu.Unlock()
						if s == step && left > 0 {
							left--
							return errors.New("the store is away")
						}
						return nil
					}}
					f := newFar()
					b := run(t, box, f, settings(support, 2))
					for i := range 5 {
						submit(t, box, support, fmt.Sprintf("r%d@elsewhere.example", i))
					}
					after(time.Minute)
					mu.Lock()
					left = 0 // it is back
					mu.Unlock()
					after(10 * time.Hour)
					empty(t, box)
					_, took := f.counts()
					for i := range 5 {
						if n := took[fmt.Sprintf("r%d@elsewhere.example", i)]; n != 1 {
							t.Errorf("recipient %d got it %d times", i, n)
						}
					}
					b.stop()
				})
			})
		}
	}
}

// A worker dies between Send and Settle: another one takes over, and knows that the message is in doubt.
func TestWorkerDiesBeforeSettle(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		box := &outboundtest.Memory{}
		submit(t, box, support, ann)
		dead, err := box.Claim(t.Context(), []string{support}, 1, 1, 30*time.Second) // who claimed it is gone
		if err != nil || len(dead) != 1 {
			t.Fatal(dead, err)
		}
		b := run(t, box, newFar(), settings(support, 1))
		after(25 * time.Second)
		if offers, _ := b.far.counts(); offers != 0 {
			t.Error("sent while somebody else had the claim")
		}
		after(20 * time.Second)
		empty(t, box)
		if _, took := b.far.counts(); took[ann] != 1 {
			t.Errorf("took %v", took)
		}
	})
}

// A claim that is lost while the message is being sent stops the sending.
func TestClaimIsLost(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		stopped := make(chan struct{})
		f := newFar()
		f.says(func(ctx context.Context, _ string, _ mail.Envelope) (outbound.Receipt, error) {
			<-ctx.Done()
			close(stopped)
			return outbound.Receipt{}, ctx.Err()
		})
		box := &outboundtest.Memory{Before: func(step string) error {
			if step == "extend" {
				return outbound.ErrLost
			}
			return nil
		}}
		run(t, box, f, settings(support, 1))
		submit(t, box, support, ann)
		after(11 * time.Second)
		select {
		case <-stopped:
		default:
			t.Error("the sending goes on")
		}
		f.fails(nil)
	})
}

// TestAClaimThatCannotBeExtended: who hears nothing from the store for as long as a claim lasts stops sending, because another
// worker may have begun to.
func TestAClaimThatCannotBeExtended(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		box, f, stopped := &outboundtest.Memory{}, newFar(), time.Time{}
		box.Before = func(step string) error {
			if step == "extend" {
				return errors.New("redis is away")
			}
			return nil
		}
		f.says(func(ctx context.Context, _ string, _ mail.Envelope) (outbound.Receipt, error) {
			if stopped.IsZero() {
				<-ctx.Done()
				stopped = time.Now()
			}
			return outbound.Receipt{}, context.Cause(ctx)
		})
		began := time.Now()
		run(t, box, f, settings(support, 1))
		submit(t, box, support, ann)
		after(time.Minute)
		if took := stopped.Sub(began); took < 20*time.Second || took > 30*time.Second {
			t.Errorf("stopped after %v", took)
		}
		empty(t, box)
	})
}

func TestDrain(t *testing.T) {
	for name, c := range map[string]struct {
		lasts time.Duration // how long the server takes
		sent  bool
		took  time.Duration // how long the drain
	}{"a transaction ends": {5 * time.Second, true, 5 * time.Second}, "not for ever": {time.Hour, false, 20 * time.Second}} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				f := newFar()
				f.says(func(ctx context.Context, _ string, _ mail.Envelope) (outbound.Receipt, error) {
					select {
					case <-ctx.Done():
						return outbound.Receipt{}, ctx.Err()
					case <-time.After(c.lasts):
						return outbound.Receipt{}, nil
					}
				})
				b := run(t, &outboundtest.Memory{}, f, settings(support, 1))
				submit(t, b.box, support, ann)
				submit(t, b.box, support, bob)
				after(0)
				began := time.Now()
				b.stop()
				if took := time.Since(began); took != c.took {
					t.Errorf("the drain took %v, want %v", took, c.took)
				}
				if offers, took := f.counts(); offers != 1 || (took[ann] == 1) != c.sent {
					t.Errorf("%d offers, took %v", offers, took)
				}
				states := b.box.States()
				if !c.sent && (states[outbound.Deferred] != 1 || states[outbound.Queued] != 1) {
					t.Errorf("states %v", states)
				}
				all, err := b.box.List(t.Context(), "", 9)
				if err != nil || all[0].Attempts != 0 {
					t.Errorf("stopping is no attempt: %+v, %v", all, err)
				}
				if f.closed != 1 {
					t.Errorf("%d transports closed", f.closed)
				}
			})
		})
	}
}

// TestAnOperatorsWordIsNewer: who has a message sent again gets it sent, whatever this worker remembers of an earlier attempt.
func TestAnOperatorsWordIsNewer(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var away atomic.Bool
		away.Store(true)
		box := &outboundtest.Memory{Before: func(step string) error {
			if away.Load() && step == "settle" {
				return errors.New("the store is away")
			}
			return nil
		}}
		f := newFar()
		f.fails(reply(fault.Permanent, "550 no"))
		b := run(t, box, f, settings(support, 1))
		submit(t, box, support, ann)
		after(10 * time.Second)
		b.Set(nil) // nobody claims it meanwhile
		after(2 * time.Minute)
		away.Store(false)
		if err := box.Retry(t.Context(), "1"); err != nil {
			t.Fatal(err)
		}
		f.fails(nil)
		b.Set([]tokenclient.Settings{settings(support, 1)})
		after(time.Minute)
		empty(t, box)
		if _, took := f.counts(); took[ann] != 1 {
			t.Errorf("took %v", took)
		}
	})
}
