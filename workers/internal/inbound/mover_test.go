package inbound_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/inbound/inboundtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a Mover with everything around it.
type rig struct {
	mover  *inbound.Mover
	state  *inboundtest.State
	server *server
	sink   *sink
	board  *inbound.Board
	cancel context.CancelFunc
	done   chan struct{}
}

func newRig(s *server) *rig {
	r := &rig{state: &inboundtest.State{}, server: s, sink: &sink{}}
	metrics := inbound.NewMetrics(prometheus.NewRegistry())
	r.board = &inbound.Board{Metrics: metrics}
	r.mover = &inbound.Mover{
		Folder: folder, Protocol: "FAKE", Source: source{s}, Sink: r.sink, Checkpoints: r.state, Quarantine: r.state,
		Rules: inbound.Rules{Cycle: time.Minute}, Options: inbound.Options{Page: 3, Lease: 30 * time.Second},
		Log: slog.New(slog.DiscardHandler), Metrics: metrics, Status: r.board.Folder(folder, "FAKE"),
	}
	return r
}

// run starts the Mover; stop ends it. Inside a bubble.
func (r *rig) run(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r.cancel, r.done = cancel, make(chan struct{})
	go func() {
		defer close(r.done)
		r.mover.Run(ctx)
	}()
}

func (r *rig) stop() {
	r.cancel()
	<-r.done
}

// runFor lets the Mover work for d and stops it.
func (r *rig) runFor(t *testing.T, d time.Duration) {
	r.run(t)
	time.Sleep(d)
	synctest.Wait()
	r.stop()
}

func letters(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("Subject: %d\r\n\r\nbody\r\n", i))
	}
	return all
}

func (r *rig) mustHave(t *testing.T, n int) {
	t.Helper()
	if got := len(r.sink.got()); got != n {
		t.Errorf("%d messages in the sink, want %d", got, n)
	}
}

func TestMailIsMovedAndNewMailToo(t *testing.T) {
	for _, k := range kinds {
		for _, remove := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, remove %t", k, remove), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(&server{kind: k, remove: remove})
					r.server.add(letters(10)...)
					r.run(t)
					time.Sleep(time.Second)
					r.mustHave(t, 10)
					r.server.add("Subject: late\r\n\r\n")
					time.Sleep(2 * time.Minute)
					r.mustHave(t, 11)
					if left := r.server.left(); remove && len(left) > 0 {
						t.Errorf("left on the server: %v", left)
					}
					r.stop()
					if r.state.Leased(folder) {
						t.Error("the lease was not released")
					}
				})
			})
		}
	}
}

// TestCrashBeforeAndAfterEveryStep: whatever the moment of death, the next process ends what the first began; no message
// is lost, and a second Put of a key is all that it costs.
func TestCrashBeforeAndAfterEveryStep(t *testing.T) {
	for _, k := range kinds {
		for _, remove := range []bool{false, true} {
			for _, forget := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, remove %t, forget %t", k, remove, forget), func(t *testing.T) {
					for dieAt := 1; crash(t, k, remove, forget, dieAt); dieAt++ {
					}
				})
			}
		}
	}
}

// crash lets a process die at its nth step and another one end the work. It is false once n is beyond the last step.
func crash(t *testing.T, k kind, remove, forget bool, dieAt int) (died bool) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(&server{kind: k, remove: remove})
		want := letters(5)
		r.server.add(want...)
		p := &process{dieAt: dieAt, died: make(chan struct{})}
		m := mortal{p, r.mover.Source, r.sink, r.state}
		first := *r.mover
		first.Source, first.Sink, first.Checkpoints, first.Options.Puts = m, m, m, 1
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); first.Run(ctx) }()
		select {
		case <-p.died:
			died = true
		case <-time.After(10 * time.Second):
		}
		cancel()
		<-done
		if forget {
			r.server.forget()
		}
		r.runFor(t, 5*time.Minute) // the lease of the dead one must lapse first
		got := r.sink.got()
		for i, body := range want {
			if got[fmt.Sprint(i+1)] != body {
				t.Errorf("death at step %d: message %d is not in the sink", dieAt, i+1)
			}
		}
		if left := r.server.left(); remove && len(left) > 0 {
			t.Errorf("death at step %d: left on the server: %v", dieAt, left)
		}
	})
	return died && !t.Failed()
}

func TestALostCursorStartsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(&server{kind: byUID})
		r.server.add(letters(4)...)
		r.run(t)
		time.Sleep(time.Second)
		r.server.forget()
		r.server.add("Subject: new\r\n\r\n")
		time.Sleep(2 * time.Minute)
		r.mustHave(t, 5)
		r.stop()
	})
}

func TestOneGoroutineReadsWhileSeveralPut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(&server{kind: byUID})
		r.mover.Options.Page, r.sink.slow = 100, time.Second
		r.server.add(letters(80)...)
		start := time.Now()
		r.run(t)
		for len(r.sink.got()) < 80 {
			time.Sleep(time.Second)
		}
		if took := time.Since(start); took > 15*time.Second {
			t.Errorf("80 messages of a second each took %s", took)
		}
		r.stop()
		if r.sink.most != 32 {
			t.Errorf("%d puts ran side by side, want 32", r.sink.most)
		}
	})
}

func TestQuarantine(t *testing.T) {
	permanent := fault.New(fault.Permanent, errors.New("it is too ugly"))
	tests := []struct {
		name    string
		arrange func(*rig)
		reason  string
	}{
		{"announced too large", func(r *rig) { r.mover.Rules.MaxSize = 100; r.server.posts[1].size = 101 }, "maximum-msg-size"},
		{"turns out too large", func(r *rig) {
			r.mover.Rules.MaxSize = 100
			r.server.posts[1].body = []byte(strings.Repeat("x", 101))
		}, "maximum-msg-size"},
		{"never rendered", func(r *rig) { r.server.broken = map[int]error{2: permanent} }, "too ugly"},
		{"refused by the sink", func(r *rig) { r.sink.fail = map[string]error{"2": permanent} }, "the sink refused it"},
		{"broken again and again", func(r *rig) { r.server.broken = map[int]error{2: errors.New("cut")} }, "gave up after"},
		{"fails in the sink again and again", func(r *rig) { r.sink.fail = map[string]error{"2": errors.New("no")} }, "gave up after"},
	}
	for _, test := range tests {
		for _, aside := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, aside %t", test.name, aside), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(&server{kind: byUID, remove: true})
					r.server.add(letters(5)...)
					if aside {
						r.mover.Source = asider{source{r.server}}
					}
					if test.arrange(r); strings.Contains(test.name, "sink again") {
						r.server.remove = false // others must get through in each pass to prove that the sink is there
					}
					r.runFor(t, time.Hour)
					r.mustBeQuarantined(t, test.reason, aside)
				})
			})
		}
	}
}

// mustBeQuarantined: message 2 was passed over, the others got through.
func (r *rig) mustBeQuarantined(t *testing.T, reason string, aside bool) {
	t.Helper()
	r.mustHave(t, 4)
	noted, err := r.state.List(t.Context(), "", 10)
	if err != nil || len(noted) != 1 || noted[0].Item.Key != "2" || !strings.Contains(noted[0].Reason, reason) || noted[0].Moved != aside {
		t.Errorf("quarantine: %+v, %v, want message 2 because of %q, moved %t", noted, err, reason, aside)
	}
	if moved := slices.Equal(r.server.aside, []int{2}); moved != aside {
		t.Errorf("moved aside: %v", r.server.aside)
	}
}

// TestAMoodySink: a sink that now and then says no gets everything soon, and hardly anything twice.
func TestAMoodySink(t *testing.T) {
	for _, remove := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(&server{kind: byUID, remove: remove})
			r.mover.Options.Page, r.sink.moody = 100, 20
			r.server.add(letters(1000)...)
			r.runFor(t, time.Minute)
			r.mustHave(t, 1000)
			if r.sink.puts > 1000*110/100 {
				t.Errorf("1000 messages took %d puts", r.sink.puts)
			}
			if noted, err := r.state.List(t.Context(), "", 10); err != nil || len(noted) > 0 {
				t.Errorf("quarantine: %+v, %v", noted, err)
			}
		})
	}
}

func TestAnOutageOfTheSinkQuarantinesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(&server{kind: byUID, remove: true})
		r.server.add(letters(3)...)
		r.sink.fail = map[string]error{"1": errors.New("no"), "2": errors.New("no"), "3": errors.New("no")}
		r.run(t)
		time.Sleep(24 * time.Hour)
		r.sink.set(func(s *sink) { s.fail = nil })
		time.Sleep(10 * time.Minute)
		r.mustHave(t, 3)
		r.stop()
	})
}

func TestFailuresBackOffAndSayWhy(t *testing.T) {
	tests := []struct {
		name     string
		err      error
		min, max int // attempts within an hour
	}{
		{"temporary", errors.New("cut"), 12, 60},
		{"throttled", &fault.Error{Kind: fault.Throttled, After: 10 * time.Minute, Reason: "SERVER_THROTTLED", Err: errors.New("slow down")}, 4, 7},
		{"refused credential", &fault.Error{Kind: fault.Auth, Reason: "AUTHENTICATION_FAILED", Remedy: "grant access", Err: errors.New("no")}, 12, 30},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(&server{kind: byUID})
				f := &failing{source: source{r.server}, err: test.err}
				r.mover.Source = f
				r.run(t)
				time.Sleep(time.Hour)
				synctest.Wait()
				if f.calls < test.min || f.calls > test.max {
					t.Errorf("%d attempts in an hour, want %d to %d", f.calls, test.min, test.max)
				}
				s := r.board.List()[0]
				if s.State != "failing" || s.Failure == nil || s.Failure.Kind != fault.Of(test.err).String() || s.NextAttempt.Before(time.Now()) {
					t.Errorf("status %+v", s)
				}
				r.stop()
				if len(r.board.List()) != 0 {
					t.Error("a stopped folder is still on the board")
				}
			})
		})
	}
}

// failing fails in List.
type failing struct {
	source
	err   error
	calls int
}

func (f *failing) List(context.Context, inbound.Cursor, int) (inbound.Page, error) {
	f.calls++
	return inbound.Page{}, f.err
}

func TestASessionThatEndsWithItsTokenIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(&server{kind: byUID})
		r.server.add(letters(2)...)
		r.mover.Source = &expiring{source: source{r.server}, left: 2}
		start := time.Now()
		r.run(t)
		synctest.Wait()
		r.mustHave(t, 2)
		if s := r.board.List()[0]; time.Since(start) > 0 || s.Failure != nil {
			t.Errorf("after %s: %+v", time.Since(start), s)
		}
		r.stop()
	})
}

// expiring ends its session some times.
type expiring struct {
	source
	left int
}

func (e *expiring) List(ctx context.Context, c inbound.Cursor, n int) (inbound.Page, error) {
	if e.left--; e.left >= 0 {
		return inbound.Page{}, fmt.Errorf("list: %w", inbound.ErrSessionOver)
	}
	return e.source.List(ctx, c, n)
}

func TestALostLeaseStopsTheWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(&server{kind: byUID, remove: true})
		r.server.add(letters(3)...)
		r.sink.slow = time.Hour // the work hangs in the sink
		r.run(t)
		time.Sleep(time.Second)
		r.state.Expire(folder)
		other, err := r.state.Lease(t.Context(), folder, 24*time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		if left := r.server.left(); len(left) != 3 {
			t.Errorf("left on the server: %v; a holder that lost its lease settled", left)
		}
		if err := other.Save(t.Context(), nil); err != nil {
			t.Errorf("the new holder: %v", err)
		}
		if s := r.board.List()[0]; s.State != "elsewhere" {
			t.Errorf("status %+v", s)
		}
		r.stop()
	})
}

func TestDrainEndsTheRunningMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(&server{kind: byUID, remove: true})
		r.mover.Options.Puts = 2
		r.server.add(letters(10)...)
		r.sink.slow = 5 * time.Second
		r.run(t)
		time.Sleep(time.Second)
		start := time.Now()
		r.stop()
		if took := time.Since(start); took > 6*time.Second {
			t.Errorf("the drain took %s", took)
		}
		got := len(r.sink.got())
		if got == 0 || got > 3 || len(r.server.left()) != 10-got {
			t.Errorf("%d delivered, %d left: the running ones are to be delivered and settled, no others", got, len(r.server.left()))
		}
		if r.state.Leased(folder) {
			t.Error("the lease was not released")
		}
	})
}

func TestTheDrainIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(&server{kind: byUID})
		r.server.add(letters(1)...)
		r.mover.Sink = hanging{}
		r.run(t)
		time.Sleep(time.Second)
		start := time.Now()
		r.stop()
		if took := time.Since(start); took > 25*time.Second {
			t.Errorf("the drain took %s", took)
		}
	})
}

func TestMaximumNumberPerCycle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(&server{kind: byUID})
		r.mover.Rules.MaxNumber = 4
		r.server.add(letters(10)...)
		r.run(t)
		for _, want := range []int{4, 8, 10} {
			time.Sleep(time.Second)
			r.mustHave(t, want)
			time.Sleep(time.Minute)
		}
		r.stop()
	})
}

// yielding is a Source whose session locks the mailbox.
type yielding struct {
	source
	open    bool // since the last List
	yielded int
}

func (y *yielding) List(ctx context.Context, after inbound.Cursor, limit int) (inbound.Page, error) {
	y.open = true
	return y.source.List(ctx, after, limit)
}

func (y *yielding) Yield() { y.open, y.yielded = false, y.yielded+1 }

// TestTheMailboxIsFreeWhileTheMoverWaits: after a good cycle, a full one and a failed one.
func TestTheMailboxIsFreeWhileTheMoverWaits(t *testing.T) {
	for name, arrange := range map[string]func(*rig){
		"a good cycle":   func(*rig) {},
		"a full cycle":   func(r *rig) { r.mover.Rules.MaxNumber = 1 },
		"a failed cycle": func(r *rig) { r.server.broken = map[int]error{1: errors.New("no")} },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &server{kind: byUIDL}
				s.add(letters(2)...)
				r := newRig(s)
				src := &yielding{source: source{s}}
				r.mover.Source = src
				arrange(r)
				r.run(t)
				synctest.Wait() // it waits for its next cycle
				if src.open || src.yielded != 1 {
					t.Errorf("session open: %t, yielded %d times", src.open, src.yielded)
				}
				r.stop()
			})
		})
	}
}
