package inbound

import (
	"context"
	"errors"
	"sync"
	"time"
)

// hold keeps a lease alive beside the work and ends the work when the lease is lost.
type hold struct {
	mu    sync.Mutex // Save and Renew come from two goroutines
	lease Lease
	ttl   time.Duration

	next context.Context // ends when nothing new may start: the caller wants to stop, or the lease is lost
	work context.Context // ends when what runs must end too: the lease is lost, or draining took too long
	stop func()
	done chan struct{}
}

// keep starts renewing. ctx ending is the wish to stop; what runs then has grace to end.
func keep(ctx context.Context, l Lease, ttl, grace time.Duration) *hold {
	h := &hold{lease: l, ttl: ttl, done: make(chan struct{})}
	next, stopNext := context.WithCancelCause(ctx)
	work, stopWork := context.WithCancelCause(context.WithoutCancel(ctx))
	h.next, h.work = next, work
	ended := make(chan struct{})
	h.stop = sync.OnceFunc(func() { close(ended) })
	go func() {
		defer close(h.done)
		cause := h.renew(ctx, ended, grace)
		stopNext(cause)
		stopWork(cause)
	}()
	return h
}

var (
	errDrained = errors.New("there was no time to end what was running")
	errEnded   = errors.New("the work is done")
)

// renew renews every third of the lease's time until the work ended, the grace is over or the lease is lost.
func (h *hold) renew(ctx context.Context, ended <-chan struct{}, grace time.Duration) error {
	tick := time.NewTicker(h.ttl / 3)
	defer tick.Stop()
	stopping, renewed := ctx.Done(), time.Now()
	var over <-chan time.Time
	for {
		select {
		case <-ended:
			return errEnded
		case <-stopping:
			stopping = nil
			t := time.NewTimer(grace)
			defer t.Stop() // once: stopping is nil from here on
			over = t.C
		case <-over:
			return errDrained
		case <-tick.C:
			began := time.Now()
			switch err := h.renewOnce(ctx); {
			case err == nil:
				renewed = began
			case errors.Is(err, ErrLost) || time.Since(renewed) >= h.ttl*5/6:
				return ErrLost // not sure to be the only one any more is as bad
			}
		}
	}
}

func (h *hold) renewOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.ttl/3)
	defer cancel()
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lease.Renew(ctx)
}

func (h *hold) cursor() Cursor {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lease.Cursor()
}

func (h *hold) save(c Cursor) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lease.Save(h.work, c)
}

// lost says whether the lease was.
func (h *hold) lost() bool { return errors.Is(context.Cause(h.work), ErrLost) }

// releaseWithin bounds giving a lease back: it lapses anyway.
const releaseWithin = 5 * time.Second

// release ends the renewing and gives the folder to the next worker.
func (h *hold) release() error {
	h.stop()
	<-h.done
	ctx, cancel := context.WithTimeout(context.WithoutCancel(h.work), releaseWithin)
	defer cancel()
	return h.lease.Release(ctx)
}
