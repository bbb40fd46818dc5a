package sink

import "sync"

// Turns lets those who work on the same thing take turns. The zero value is ready.
type Turns struct {
	mu   sync.Mutex
	busy map[string]chan struct{}
}

// Take waits until nobody else has id, and takes it until leave is called.
func (t *Turns) Take(id string) (leave func()) {
	done := make(chan struct{})
	t.mu.Lock()
	for t.busy[id] != nil {
		other := t.busy[id]
		t.mu.Unlock()
		<-other
		t.mu.Lock()
	}
	if t.busy == nil {
		t.busy = map[string]chan struct{}{}
	}
	t.busy[id] = done
	t.mu.Unlock()
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.busy, id)
		close(done)
	}
}
