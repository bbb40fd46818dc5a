// Package slots bounds how many requests of a mailbox run at a time, whoever makes them.
//
// A provider counts the requests of an application and a mailbox together: those of all folders that are read, those that send,
// and those of every worker. So all of them take from one bound, which lives where the workers' state does.
package slots

import (
	"context"
	"slices"
	"sync"
)

// Slots counts what runs. It is safe for use by many goroutines.
type Slots interface {
	// Take waits until less than most of the name's slots are taken, by whomever, and takes one, until release is called or
	// this process has been dead for a while. release may be called again. An error: ctx ended first, or nobody can tell.
	Take(ctx context.Context, name string, most int) (release func(), err error)
}

// Local is the Slots of a process that is alone. Who came first is served first. The zero value is ready.
type Local struct {
	mu    sync.Mutex
	names map[string]*queue
}

// queue is one name: it is forgotten while nothing runs.
type queue struct {
	taken   int
	waiting []*waiter
}

// waiter has a slot once its turn is closed.
type waiter struct {
	most int
	turn chan struct{}
}

// Take implements Slots.
func (l *Local) Take(ctx context.Context, name string, most int) (release func(), err error) {
	w := &waiter{max(1, most), make(chan struct{})}
	l.mu.Lock()
	if l.names == nil {
		l.names = map[string]*queue{}
	}
	if l.names[name] == nil {
		l.names[name] = &queue{}
	}
	l.names[name].waiting = append(l.names[name].waiting, w)
	l.serve(name)
	l.mu.Unlock()
	release = sync.OnceFunc(func() { l.leave(name, w) })
	select {
	case <-w.turn:
		return release, nil
	case <-ctx.Done():
		release()
		return nil, context.Cause(ctx)
	}
}

// serve gives slots to those who are first; l.mu is held.
func (l *Local) serve(name string) {
	q := l.names[name]
	for len(q.waiting) > 0 && q.taken < q.waiting[0].most {
		close(q.waiting[0].turn)
		q.waiting = q.waiting[1:]
		q.taken++
	}
	if q.taken == 0 && len(q.waiting) == 0 {
		delete(l.names, name)
	}
}

// leave gives a slot back, or a place among those who wait.
func (l *Local) leave(name string, w *waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	q := l.names[name]
	if i := slices.Index(q.waiting, w); i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
	} else {
		q.taken--
	}
	l.serve(name)
}
