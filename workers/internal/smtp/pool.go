package smtp

import (
	"context"
	"slices"
	"sync"
	"time"
)

// pool holds the connections of one mailbox: at most size at a time, idle ones for use again.
type pool struct {
	open      func(context.Context) (*conn, error)
	slots     chan struct{} // one for each connection that is in use
	checkIdle time.Duration // a connection idle for longer is asked before use; 0 = always
	maxIdle   time.Duration // a connection idle for longer is closed; 0 = after a minute
	once      bool          // a connection is used for one transaction, and has ended when it was given back

	mu     sync.Mutex
	idle   []*idleConn
	closed bool
	ending sync.WaitGroup // of connections that say goodbye
}

type idleConn struct {
	*conn
	since  time.Time
	expiry *time.Timer
}

func newPool(size int, checkIdle, maxIdle time.Duration, open func(context.Context) (*conn, error)) *pool {
	if maxIdle <= 0 {
		maxIdle = time.Minute
	}
	return &pool{open: open, slots: make(chan struct{}, max(1, size)), checkIdle: checkIdle, maxIdle: maxIdle}
}

// take waits for room and returns a connection, a used one if fresh is false and there is one that still works. Every
// taken connection must be given back or dropped.
func (p *pool) take(ctx context.Context, fresh bool) (*conn, error) {
	select {
	case p.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	for !fresh {
		c, since := p.pop()
		if c == nil {
			break
		}
		if c.token.Usable(time.Now()) && (time.Since(since) < p.checkIdle || c.check(ctx)) {
			return c, nil
		}
		c.quit()
	}
	p.makeRoom()
	c, err := p.open(ctx)
	if err != nil {
		<-p.slots
		return nil, err
	}
	return c, nil
}

// check asks an idle connection whether it works.
func (c *conn) check(ctx context.Context) bool {
	stop := context.AfterFunc(ctx, c.wire.Abort)
	defer stop()
	return c.alive()
}

// pop takes the idle connection that was used last.
func (p *pool) pop() (*conn, time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) == 0 {
		return nil, time.Time{}
	}
	i := p.idle[len(p.idle)-1]
	p.idle = p.idle[:len(p.idle)-1]
	i.expiry.Stop()
	return i.conn, i.since
}

// makeRoom ends idle connections that would be one too many beside those in use: Exchange counts all of them.
func (p *pool) makeRoom() {
	p.mu.Lock()
	var surplus []*idleConn
	for len(p.idle) > 0 && len(p.idle)+len(p.slots) > cap(p.slots) {
		p.idle[0].expiry.Stop()
		surplus = append(surplus, p.idle[0])
		p.idle = p.idle[1:]
	}
	p.mu.Unlock()
	for _, i := range surplus {
		i.quit()
	}
}

// give returns a connection that may be used again.
func (p *pool) give(c *conn) {
	left := p.maxIdle
	if !c.token.UsableUntil.IsZero() {
		left = min(left, time.Until(c.token.UsableUntil))
	}
	p.mu.Lock()
	keep := !p.closed && !p.once && left > 0
	if keep {
		i := &idleConn{conn: c, since: time.Now()}
		i.expiry = time.AfterFunc(left, func() { p.expire(i) })
		p.idle = append(p.idle, i)
	}
	p.mu.Unlock()
	if !keep {
		c.quit()
	}
	<-p.slots
}

// drop gives the room of a broken connection back.
func (p *pool) drop(c *conn) {
	c.wire.Abort()
	<-p.slots
}

// expire ends a connection that has been idle for too long or whose token comes near its end.
func (p *pool) expire(i *idleConn) {
	p.mu.Lock()
	at := slices.Index(p.idle, i)
	if at < 0 { // somebody uses it, or the pool is closed
		p.mu.Unlock()
		return
	}
	p.idle = slices.Delete(p.idle, at, at+1)
	p.ending.Add(1)
	p.mu.Unlock()
	defer p.ending.Done()
	i.quit()
}

// close ends the idle connections and waits for those that are ending. Those in use end when they are given back.
func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	for _, i := range idle {
		i.expiry.Stop()
		p.ending.Go(i.quit)
	}
	p.ending.Wait()
}
