package inbound_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/inbound/inboundtest"
	"mailporter/workers/internal/mail"
)

// severed is a state that one worker cannot reach any more: as if it had died.
type severed struct {
	*inboundtest.State
	off    atomic.Bool // everything
	leases atomic.Bool // only leases
}

var errSevered = errors.New("nobody there")

func (s *severed) Announce(ctx context.Context, group, worker string, ttl time.Duration) ([]string, error) {
	if s.off.Load() {
		return nil, errSevered
	}
	return s.State.Announce(ctx, group, worker, ttl)
}

func (s *severed) Leave(ctx context.Context, group, worker string) error {
	if s.off.Load() {
		return errSevered
	}
	return s.State.Leave(ctx, group, worker)
}

func (s *severed) Lease(ctx context.Context, f mail.Folder, ttl time.Duration) (inbound.Lease, error) {
	if s.off.Load() || s.leases.Load() {
		return nil, errSevered
	}
	l, err := s.State.Lease(ctx, f, ttl)
	if err != nil {
		return nil, err
	}
	return severedLease{l, s}, nil
}

type severedLease struct {
	inbound.Lease
	state *severed
}

func (l severedLease) Renew(ctx context.Context) error {
	if l.state.off.Load() {
		return errSevered
	}
	return l.Lease.Renew(ctx)
}

func (l severedLease) Release(ctx context.Context) error {
	if l.state.off.Load() {
		return errSevered
	}
	return l.Lease.Release(ctx)
}

// pod is one worker of several.
type pod struct {
	*crew
	state *severed
	stop  context.CancelFunc
	ended chan struct{}
}

func newPod(t *testing.T, shared *inboundtest.State, name string, all []tokenclient.Settings) *pod {
	t.Helper()
	p := &pod{crew: newCrew(), state: &severed{State: shared}, ended: make(chan struct{})}
	ctx, stop := context.WithCancel(t.Context())
	p.stop = stop
	p.fleet.Checkpoints = p.state
	p.fleet.Share = inbound.NewShare(p.state, "FAKE", name, slog.New(slog.DiscardHandler))
	if err := p.fleet.Share.Announce(ctx); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		p.fleet.Set(ctx, all)
		p.fleet.Share.Run(ctx)
		p.fleet.Wait()
	}()
	return p
}

// held counts the folders that a worker reads.
func (p *pod) held() (n int) {
	for _, s := range p.states() {
		if strings.HasSuffix(s, "=waiting") {
			n++
		}
	}
	return n
}

func boxes(n int) (all []tokenclient.Settings) {
	for i := range n {
		all = append(all, box(fmt.Sprintf("m%d@contoso.example", i), "INBOX"))
	}
	return all
}

func mustHold(t *testing.T, when string, total int, pods ...*pod) {
	t.Helper()
	var each []int
	sum := 0
	for _, p := range pods {
		each = append(each, p.held())
		sum += p.held()
	}
	for _, n := range each {
		if sum != total || n < total/len(pods)*2/3 {
			t.Errorf("%s the workers hold %v of %d folders", when, each, total)
			return
		}
	}
}

func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// TestFairShare: workers that come take their share, those that leave hand theirs over at once, and what a dead one had is
// taken over within the time of a lease.
func TestFairShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 300
		shared := &inboundtest.State{}
		one := newPod(t, shared, "one", boxes(n))
		after(time.Minute)
		mustHold(t, "alone", n, one)

		two, three := newPod(t, shared, "two", boxes(n)), newPod(t, shared, "three", boxes(n))
		after(10 * time.Second)
		mustHold(t, "three", n, one, two, three)

		two.stop() // SIGTERM
		<-two.ended
		after(5 * time.Second)
		mustHold(t, "after a farewell", n, one, three)

		three.state.off.Store(true) // kill -9, or no network
		after(34 * time.Second)
		mustHold(t, "after a death", n, one)

		three.stop()
		one.stop()
		<-three.ended
		<-one.ended
	})
}

// TestOrphans: a worker that lives but cannot lease leaves no folder unread.
func TestOrphans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := &inboundtest.State{}
		good := newPod(t, shared, "good", boxes(300))
		bad := newPod(t, shared, "bad", boxes(300))
		bad.state.leases.Store(true)
		after(5 * time.Minute)
		if good.held() != 300 {
			t.Errorf("%d of 300 folders are read", good.held())
		}
		bad.state.leases.Store(false)
		third := newPod(t, shared, "third", boxes(300))
		after(20 * time.Minute) // what was adopted is given back
		mustHold(t, "in the end", 300, good, bad, third)
		for _, p := range []*pod{good, bad, third} {
			p.stop()
			<-p.ended
		}
	})
}

// TestAlone: without a share every folder is this worker's.
func TestAlone(t *testing.T) {
	var s *inbound.Share
	if !s.Mine(mail.Folder{Mailbox: "a", Name: "INBOX"}) {
		t.Error("a worker that is alone passes folders over")
	}
}
