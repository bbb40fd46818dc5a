package mailstore

import (
	"errors"
	"fmt"
)

// A plan decides what a change is, looking at the state as it is when its turn comes. A nil record changes nothing.
type plan func(*state) (*record, []byte, error)

type change struct {
	plan plan
	done chan error
}

// maxBatch bounds how long the first of a batch waits for the last, and so for how long readers are held up.
const maxBatch = 64

// commit makes a change and returns once it is durable.
func (s *Store) commit(p plan) error {
	if s.journal == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.make(p)
	}
	c := change{plan: p, done: make(chan error, 1)}
	select {
	case s.changes <- c:
		return <-c.done
	case <-s.closing:
		return ErrClosed
	}
}

// run is the committer: the only goroutine that writes when there is a journal.
func (s *Store) run() {
	defer close(s.done)
	for {
		select {
		case c := <-s.changes:
			s.flush(s.gather(c))
		case <-s.closing:
			return
		}
	}
}

// gather takes everybody who waits right now: they share one fsync.
func (s *Store) gather(first change) []change {
	batch := []change{first}
	for len(batch) < maxBatch {
		select {
		case c := <-s.changes:
			batch = append(batch, c)
		default:
			return batch
		}
	}
	return batch
}

// flush holds readers off until the batch is on the disk: nobody may act on mail that a crash could still take back.
func (s *Store) flush(batch []change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	errs := make([]error, len(batch))
	for i, c := range batch {
		errs[i] = s.make(c.plan)
	}
	if err := s.journal.sync(); err != nil && s.broken == nil {
		s.broken = fmt.Errorf("mail store is broken: %w", err)
	}
	for i, c := range batch {
		c.done <- errors.Join(errs[i], s.broken)
	}
}

// make plans, writes and applies one change; s.mu is held.
func (s *Store) make(p plan) error {
	if s.broken != nil {
		return s.broken
	}
	r, raw, err := p(s.state)
	if err != nil || r == nil {
		return err
	}
	body := blob(memory(raw))
	if s.journal != nil {
		if body, err = s.journal.append(r, raw); err != nil {
			s.broken = fmt.Errorf("mail store is broken: %w", err)
			return s.broken
		}
	}
	touched, err := s.state.apply(r, body)
	for _, addr := range touched {
		s.notify(addr)
	}
	return err
}
