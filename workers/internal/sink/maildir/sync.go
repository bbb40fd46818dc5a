package maildir

import (
	"errors"
	"os"
	"sync"
)

// syncer groups the fsyncs of one directory: whoever comes while one runs waits for the next, and all that wait share it.
type syncer struct {
	path string

	mu      sync.Mutex
	running bool
	next    *group // those who wait for the fsync that has not begun
}

type group struct {
	done chan struct{}
	err  error
}

// sync returns once an fsync that began after the call has ended.
func (f *syncer) sync() error {
	f.mu.Lock()
	if f.next == nil {
		f.next = &group{done: make(chan struct{})}
	}
	g := f.next
	if f.running {
		f.mu.Unlock()
		<-g.done
		return g.err
	}
	f.running = true
	f.mu.Unlock()
	f.run(g)
	return g.err
}

// run serves g, and hands what gathered meanwhile to a goroutine of its own.
func (f *syncer) run(g *group) {
	f.mu.Lock()
	f.next = nil // who comes from here on needs a later fsync
	f.mu.Unlock()
	g.err = syncPath(f.path)
	close(g.done)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running = f.next != nil; f.running {
		go f.run(f.next)
	}
}

// syncPath makes a directory's entries durable.
func syncPath(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
