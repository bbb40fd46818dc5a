package smtp

import (
	"bufio"
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/wire"
)

// hall counts the connections of a pool; its server answers NOOP and QUIT.
type hall struct {
	mu     sync.Mutex
	opened int
	open   int
	noops  int
	deaf   bool // NOOP is not answered, the connection is closed
	until  time.Time
	fails  error
}

func (h *hall) dial(context.Context) (*conn, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fails != nil {
		return nil, h.fails
	}
	h.opened++
	h.open++
	near, far := net.Pipe()
	go h.serve(far)
	c := newConn(wire.Wrap(near, wire.Options{}), time.Minute)
	c.token = tokenclient.Token{UsableUntil: h.until}
	return c, nil
}

func (h *hall) serve(far net.Conn) {
	defer func() {
		_ = far.Close()
		h.mu.Lock()
		defer h.mu.Unlock()
		h.open--
	}()
	for lines := bufio.NewScanner(far); lines.Scan(); {
		h.mu.Lock()
		if lines.Text() == "NOOP" {
			h.noops++
		}
		deaf := h.deaf
		h.mu.Unlock()
		if deaf && lines.Text() == "NOOP" {
			return
		}
		reply := "250 ok\r\n"
		if strings.HasPrefix(lines.Text(), "QUIT") {
			reply = "221 bye\r\n"
		}
		if _, err := far.Write([]byte(reply)); err != nil {
			return
		}
	}
}

func (h *hall) counts() (opened, open, noops int) {
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.opened, h.open, h.noops
}

func (h *hall) want(t *testing.T, opened, open, noops int) {
	t.Helper()
	if a, b, c := h.counts(); a != opened || b != open || c != noops {
		t.Errorf("%d opened, %d open, %d NOOPs; want %d, %d, %d", a, b, c, opened, open, noops)
	}
}

func mustTake(t *testing.T, p *pool) *conn {
	t.Helper()
	c, err := p.take(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// onPool runs a test on virtual time.
func onPool(t *testing.T, size int, test func(t *testing.T, p *pool, h *hall)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := &hall{}
		p := newPool(size, time.Minute, 5*time.Minute, h.dial)
		test(t, p, h)
		p.close()
		if _, open, _ := h.counts(); open != 0 {
			t.Errorf("%d connections stay open", open)
		}
	})
}

func TestPoolUsesAgain(t *testing.T) {
	onPool(t, 3, func(t *testing.T, p *pool, h *hall) {
		for range 5 {
			p.give(mustTake(t, p))
		}
		h.want(t, 1, 1, 0)
		time.Sleep(2 * time.Minute) // virtual
		p.give(mustTake(t, p))
		h.want(t, 1, 1, 1) // was asked first
	})
}

// TestPoolKeepsNothingThatOthersMayNeed: a connection has ended when it was given back.
func TestPoolKeepsNothingThatOthersMayNeed(t *testing.T) {
	onPool(t, 3, func(t *testing.T, p *pool, h *hall) {
		p.once = true
		for range 5 {
			p.give(mustTake(t, p))
		}
		synctest.Wait()
		h.want(t, 5, 0, 0)
	})
}

func TestPoolReplacesTheDead(t *testing.T) {
	onPool(t, 3, func(t *testing.T, p *pool, h *hall) {
		p.give(mustTake(t, p))
		h.mu.Lock()
		h.deaf = true
		h.mu.Unlock()
		time.Sleep(2 * time.Minute) // virtual
		p.give(mustTake(t, p))
		h.want(t, 2, 1, 1)
	})
}

func TestPoolClosesTheIdle(t *testing.T) {
	onPool(t, 3, func(t *testing.T, p *pool, h *hall) {
		p.give(mustTake(t, p))
		time.Sleep(5*time.Minute - time.Second) // virtual
		h.want(t, 1, 1, 0)
		time.Sleep(2 * time.Second) // virtual
		h.want(t, 1, 0, 0)
	})
}

// Nothing starts on a connection whose token comes near its end; what runs on it ends first.
func TestPoolFollowsTheToken(t *testing.T) {
	onPool(t, 3, func(t *testing.T, p *pool, h *hall) {
		h.until = time.Now().Add(time.Minute)
		p.give(mustTake(t, p))
		time.Sleep(59 * time.Second) // virtual
		h.want(t, 1, 1, 0)
		time.Sleep(2 * time.Second) // virtual
		h.want(t, 1, 0, 0)
		h.until = time.Now().Add(time.Minute)
		c := mustTake(t, p)
		time.Sleep(2 * time.Minute) // virtual
		h.want(t, 2, 1, 0)          // in use
		p.give(c)
		h.want(t, 2, 0, 0)
	})
}

func TestPoolIsNeverTooLarge(t *testing.T) {
	onPool(t, 2, func(t *testing.T, p *pool, h *hall) {
		var work sync.WaitGroup
		for range 10 {
			work.Go(func() {
				c, err := p.take(t.Context(), false)
				if err != nil {
					t.Error(err)
					return
				}
				if _, open, _ := h.now(); open > 2 {
					t.Errorf("%d open", open)
				}
				time.Sleep(time.Second) // virtual
				p.give(c)
			})
		}
		work.Wait()
		h.want(t, 2, 2, 0)
		// A fresh one takes the room of an idle one: the provider counts both.
		c, err := p.take(t.Context(), true)
		if err != nil {
			t.Fatal(err)
		}
		h.want(t, 3, 2, 0)
		p.give(c)
	})
}

func (h *hall) now() (opened, open, noops int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.opened, h.open, h.noops
}

func TestPoolGivesRoomBack(t *testing.T) {
	onPool(t, 1, func(t *testing.T, p *pool, h *hall) {
		h.fails = errors.New("no")
		for range 3 {
			if _, err := p.take(t.Context(), false); !errors.Is(err, h.fails) {
				t.Fatal(err)
			}
		}
		h.fails = nil
		p.drop(mustTake(t, p))
		c := mustTake(t, p)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.take(ctx, false); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("took one too many: %v", err)
		}
		p.give(c)
	})
}

func TestPoolIsClosedWhileInUse(t *testing.T) {
	onPool(t, 1, func(t *testing.T, p *pool, h *hall) {
		c := mustTake(t, p)
		p.close()
		h.want(t, 1, 1, 0)
		p.give(c)
		h.want(t, 1, 0, 0)
	})
}
