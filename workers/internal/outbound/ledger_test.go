package outbound_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/outbound/outboundtest"
)

// provider is a server that refuses what is above its limits, and remembers that somebody tried.
type provider struct {
	mu      sync.Mutex
	at      []time.Time // when it took each
	refused int
	now     int
	peak    int
}

const (
	perMinute   = 30
	connections = 3
)

func (p *provider) Send(context.Context, mail.Envelope, mail.Body) (outbound.Receipt, error) {
	p.mu.Lock()
	p.now++
	p.peak = max(p.peak, p.now)
	err := p.judge()
	p.mu.Unlock()
	time.Sleep(700 * time.Millisecond) // virtual
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now--
	return outbound.Receipt{}, err
}

// judge takes a message or refuses it; p.mu is held.
func (p *provider) judge() error {
	n := len(p.at)
	switch {
	case p.now > connections:
		p.refused++
		return reply(fault.Throttled, "432 4.3.2 Concurrent connections limit exceeded")
	case n >= perMinute && time.Since(p.at[n-perMinute]) < time.Minute:
		p.refused++
		return reply(fault.Throttled, "432 4.3.2 Submission rate limit exceeded")
	}
	p.at = append(p.at, time.Now())
	return nil
}

func (p *provider) Close() error { return nil }

// worker starts one of several Senders that share everything.
func worker(t *testing.T, box outbound.Outbox, l outbound.Ledger, tr outbound.Transport) *outbound.Sender {
	t.Helper()
	set := settings(support, connections)
	set.Outbound.Limits = []tokenclient.Limit{{Unit: tokenclient.Messages, Most: perMinute, Window: time.Minute}}
	s := &outbound.Sender{Protocol: "SMTP", Outbox: box, Ledger: l, Log: quiet, Board: &outbound.Board{},
		Transport: func(tokenclient.Settings) (outbound.Transport, error) { return tr, nil }}
	s.Set([]tokenclient.Settings{set})
	send(t, s)
	return s
}

// TestThreeWorkersKeepTheLimits: 500 messages of one mailbox, none refused by the provider, and hardly slower than it
// allows.
func TestThreeWorkersKeepTheLimits(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		box, l, p := &outboundtest.Memory{}, &outboundtest.Counter{}, &provider{}
		for i := range 500 {
			submit(t, box, support, fmt.Sprintf("%d@elsewhere.example", i))
		}
		for range 3 {
			worker(t, box, l, p)
		}
		began := time.Now()
		for box.States()[outbound.Queued]+box.States()[outbound.Deferred]+box.States()[outbound.Sending] > 0 && time.Since(began) < time.Hour {
			after(10 * time.Second)
		}
		if p.refused > 0 || p.peak > connections || len(p.at) != 500 {
			t.Errorf("%d messages taken, %d refused, %d side by side", len(p.at), p.refused, p.peak)
		}
		if took := time.Since(began); took > 500/perMinute*time.Minute*5/4 {
			t.Errorf("it took %v; %d a minute are allowed", took, perMinute)
		}
	})
}

// inTurn is a transport that notes who got mail, in the order of sending.
type inTurn struct {
	mu sync.Mutex
	to []string
}

func (q *inTurn) Send(_ context.Context, e mail.Envelope, _ mail.Body) (outbound.Receipt, error) {
	time.Sleep(100 * time.Millisecond) // virtual
	q.mu.Lock()
	defer q.mu.Unlock()
	q.to = append(q.to, e.Recipients[0].Address)
	return outbound.Receipt{}, nil
}

func (q *inTurn) Close() error { return nil }

// TestWaitingCostsNobodyHisPlace: what met a limit is not sent after all that was handed in later, by however many workers.
func TestWaitingCostsNobodyHisPlace(t *testing.T) {
	for _, workers := range []int{1, 3} {
		t.Run(fmt.Sprintf("%d workers", workers), func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				const messages = 10 * perMinute
				box, l, q := &outboundtest.Memory{}, &outboundtest.Counter{}, &inTurn{}
				for i := range messages {
					submit(t, box, support, strconv.Itoa(i))
					time.Sleep(time.Millisecond)
				}
				for range workers {
					worker(t, box, l, q)
				}
				after(15 * time.Minute)
				empty(t, box)
				for place, name := range q.to {
					if i, err := strconv.Atoi(name); err != nil || max(i-place, place-i) > connections*workers {
						t.Errorf("message %s was sent as number %d", name, place)
					}
				}
			})
		})
	}
}

// bounded is a transport whose server takes no more than three at a time.
type bounded struct{ *provider }

func (bounded) Parallel() int { return connections }

// TestTheTransportsBoundHolds: a mailbox that is configured with more connections than its server allows is not refused,
// by whatever number of workers.
func TestTheTransportsBoundHolds(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		box, p := &outboundtest.Memory{}, &provider{}
		for i := range perMinute {
			submit(t, box, support, fmt.Sprintf("%d@elsewhere.example", i))
		}
		for range 3 {
			s := &outbound.Sender{Protocol: "GRAPH", Outbox: box, Log: quiet, Transport: func(tokenclient.Settings) (outbound.Transport, error) { return bounded{p}, nil }}
			s.Set([]tokenclient.Settings{settings(support, 10*connections)})
			send(t, s)
		}
		after(time.Minute)
		empty(t, box)
		if p.refused > 0 || p.peak != connections {
			t.Errorf("%d refused, %d side by side", p.refused, p.peak)
		}
	})
}

// TestAWaitSaysWhy: what waits for room says so, and until when, and it counts as no attempt.
func TestAWaitSaysWhy(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		box, p := &outboundtest.Memory{}, &provider{}
		s := worker(t, box, &outboundtest.Counter{}, p)
		for i := range perMinute + 1 {
			submit(t, box, support, fmt.Sprintf("%d@elsewhere.example", i))
		}
		after(30 * time.Second)
		left := status(t, box)
		if r := left.Recipients[0]; r.State != outbound.Deferred || r.Reason != "30 messages in a minute are used up" || left.Attempts != 0 ||
			left.Next.IsZero() || time.Until(left.Next) > 45*time.Second {
			t.Errorf("%+v", left)
		}
		if b := s.Board.List()[0]; b.State != "paused" || b.PausedUntil.IsZero() || b.Problem != nil || !strings.Contains(b.Because, "30 messages") {
			t.Errorf("%+v", b)
		}
		after(time.Minute)
		empty(t, box)
	})
}

// TestOneWorkerLearnsForAll: the provider asks one for patience, and the others wait as well, whether or not the mailbox has
// limits of its own.
func TestOneWorkerLearnsForAll(t *testing.T) {
	for name, limits := range map[string][]tokenclient.Limit{
		"with limits":    {{Unit: tokenclient.Messages, Most: perMinute, Window: time.Minute}},
		"without limits": nil,
	} {
		t.Run(name, func(t *testing.T) { inBubble(t, func(t *testing.T) { learnsForAll(t, limits) }) })
	}
}

func learnsForAll(t *testing.T, limits []tokenclient.Limit) {
	box, l, f := &outboundtest.Memory{}, &outboundtest.Counter{}, newFar()
	another := func() {
		set := settings(support, connections)
		set.Outbound.Limits = limits
		s := &outbound.Sender{Protocol: "SMTP", Outbox: box, Ledger: l, Log: quiet,
			Transport: func(tokenclient.Settings) (outbound.Transport, error) { return transport{f, support}, nil }}
		s.Set([]tokenclient.Settings{set})
		send(t, s)
	}
	f.fails(&fault.Error{Kind: fault.Throttled, After: 10 * time.Minute, Err: errors.New("432 4.3.2 slow down")})
	another()
	submit(t, box, support, ann)
	after(time.Second)
	another()
	submit(t, box, support, bob)
	after(9 * time.Minute)
	if offers, _ := f.counts(); offers != 1 {
		t.Errorf("%d offers while the provider wants patience", offers)
	}
	if all, err := box.List(t.Context(), "", 9); err != nil || len(all) != 2 || !strings.Contains(all[1].Recipients[0].Reason, "432") {
		t.Errorf("%+v, %v", all, err)
	}
	f.fails(nil)
	after(5 * time.Minute)
	empty(t, box)
}

// broken is a ledger that does not answer.
type brokenLedger struct{}

func (brokenLedger) Book(context.Context, string, []tokenclient.Limit, outbound.Cost) (outbound.Wait, error) {
	return outbound.Wait{}, errors.New("redis is away")
}

func (brokenLedger) Unbook(context.Context, string, []tokenclient.Limit, outbound.Cost, time.Time) error {
	return errors.New("redis is away")
}

func (brokenLedger) Close(context.Context, string, time.Time, string) error { return nil }

func (brokenLedger) Usage(context.Context, string, []tokenclient.Limit) (outbound.Usage, error) {
	return outbound.Usage{}, errors.New("redis is away")
}

// TestNobodyCountsNobodySends: a fleet that cannot count would run into the limits together.
func TestNobodyCountsNobodySends(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		box, f := &outboundtest.Memory{}, newFar()
		worker(t, box, brokenLedger{}, transport{f, support})
		submit(t, box, support, ann)
		after(time.Minute)
		if offers, _ := f.counts(); offers != 0 || !strings.Contains(status(t, box).Recipients[0].Reason, "redis is away") {
			t.Errorf("%d offers; %+v", offers, status(t, box))
		}
	})
}
