package outboundtest

import (
	"context"
	"maps"
	"sync"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/outbound"
)

// Counter is a Ledger that forgets everything with the process. The zero value has counted nothing; it is safe for use
// by many goroutines and works inside synctest bubbles.
type Counter struct {
	mu     sync.Mutex
	sent   map[counted]map[int64]int64
	closed map[string]outbound.Wait
}

// counted is what a limit's own number does not change.
type counted struct {
	mailbox string
	unit    tokenclient.Unit
	window  time.Duration
}

func countedBy(mailbox string, l tokenclient.Limit) counted {
	return counted{mailbox, l.Unit, l.Window}
}

// Book implements outbound.Ledger.
func (c *Counter) Book(_ context.Context, mailbox string, limits []tokenclient.Limit, cost outbound.Cost) (outbound.Wait, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	wait := outbound.Wait{}
	if w := c.closed[mailbox]; w.Until.After(now) {
		wait = w
	}
	for _, l := range limits {
		if at := outbound.Room(l, c.sent[countedBy(mailbox, l)], cost.Of(l.Unit), now); at.After(wait.Until) {
			wait = outbound.Wait{Until: at, Why: outbound.UsedUp(l)}
		}
	}
	if wait.Until.IsZero() {
		c.count(mailbox, limits, cost, now, 1)
		wait.Booked = now
	}
	return wait, nil
}

// Unbook implements outbound.Ledger.
func (c *Counter) Unbook(_ context.Context, mailbox string, limits []tokenclient.Limit, cost outbound.Cost, booked time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count(mailbox, limits, cost, booked, -1)
	return nil
}

// count adds the cost so many times; c.mu is held.
func (c *Counter) count(mailbox string, limits []tokenclient.Limit, cost outbound.Cost, at time.Time, times int64) {
	if c.sent == nil {
		c.sent = map[counted]map[int64]int64{}
	}
	for _, l := range limits {
		of := countedBy(mailbox, l)
		if c.sent[of] == nil {
			c.sent[of] = map[int64]int64{}
		}
		c.sent[of][outbound.SlotOf(l, at)] += times * cost.Of(l.Unit)
	}
}

// Close implements outbound.Ledger.
func (c *Counter) Close(_ context.Context, mailbox string, until time.Time, why string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed == nil {
		c.closed = map[string]outbound.Wait{}
	}
	if until.After(c.closed[mailbox].Until) {
		c.closed[mailbox] = outbound.Wait{Until: until, Why: why}
	}
	return nil
}

// Usage implements outbound.Ledger.
func (c *Counter) Usage(_ context.Context, mailbox string, limits []tokenclient.Limit) (outbound.Usage, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := outbound.Usage{Now: time.Now(), Sent: make([]map[int64]int64, len(limits))}
	if w := c.closed[mailbox]; w.Until.After(u.Now) {
		u.Closed = w
	}
	for i, l := range limits {
		u.Sent[i] = maps.Clone(c.sent[countedBy(mailbox, l)])
	}
	return u, nil
}
