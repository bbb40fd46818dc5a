package simulation

import (
	"context"
	"errors"
	"sync"
	"time"
)

var (
	errDead  = errors.New("this broker is dead")
	errReset = errors.New("connection reset by peer")
	errAway  = errors.New("connection refused")
)

// link is how one life of a replica reaches the outside. Cutting it is the death of the process: what is on its way still
// arrives, and nothing comes back. A frozen process sends nothing and hears late what came meanwhile.
type link struct {
	w    *world
	name string
	dead chan struct{} // closed at its death

	mu       sync.Mutex
	thaw     chan struct{} // closed when the process goes on; nil = it runs
	draining bool
}

func newLink(w *world, name string) *link {
	return &link{w: w, name: name, dead: make(chan struct{})}
}

func (l *link) isDead() bool {
	select {
	case <-l.dead:
		return true
	default:
		return false
	}
}

// drain lets no more callers in.
func (l *link) drain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.draining = true
}

func (l *link) admits() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.draining
}

func (l *link) freeze() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.thaw == nil {
		l.thaw = make(chan struct{})
	}
}

func (l *link) unfreeze() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.thaw != nil {
		close(l.thaw)
		l.thaw = nil
	}
}

func (l *link) frozen() chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.thaw
}

// pass waits while the process is frozen, and tells whether it is alive. When it thaws, who waits goes on one after the
// other: who is what.
func (l *link) pass(who string) bool {
	for {
		frozen := l.frozen()
		if l.isDead() || frozen == nil {
			return !l.isDead()
		}
		select {
		case <-frozen:
			time.Sleep(between(l.w.dice(l.name, "thaw", who), 0, time.Millisecond))
		case <-l.dead:
		}
	}
}

// passage is how one trip goes.
type passage struct {
	who         string // whose it is
	there, back time.Duration
	lost        bool // the answer never comes
	reset       bool // an error comes in place of the answer
	prompt      bool // of an answer and a deadline that both came while the process was frozen, the answer is seen
}

type reply[T any] struct {
	value T
	err   error
}

// trip does something outside: effect happens there, whatever becomes of who asked. ctx bounds the wait.
func trip[T any](ctx context.Context, l *link, p passage, effect func() (T, error)) (T, error) {
	var got reply[T]
	if !l.pass(p.who) {
		return got.value, errDead
	}
	if err := ctx.Err(); err != nil {
		return got.value, err
	}
	replies := make(chan reply[T], 1)
	go travel(p, effect, replies)
	select {
	case got = <-replies:
	case <-ctx.Done():
		got.err = ctx.Err()
	case <-l.dead:
	}
	if !l.pass(p.who) {
		var none T
		return none, errDead
	}
	if got.err != nil && p.prompt {
		select {
		case got = <-replies:
		default:
		}
	}
	return got.value, got.err
}

func travel[T any](p passage, effect func() (T, error), replies chan<- reply[T]) {
	time.Sleep(p.there)
	v, err := effect()
	time.Sleep(p.back)
	switch {
	case p.reset:
		replies <- reply[T]{err: errReset}
	case !p.lost:
		replies <- reply[T]{v, err}
	}
}
