package mailstore

import (
	"fmt"
	"slices"
	"sync"
)

// A Store is safe for any number of goroutines.
type Store struct {
	mu       sync.RWMutex
	state    *state
	watchers map[string]map[chan struct{}]struct{}

	journal *journal // nil: memory only
	changes chan change
	closing chan struct{}
	done    chan struct{}
	once    sync.Once
	broken  error // set once a write failed; guarded by mu
}

// Open opens the store in dir and replays its journal; an empty dir keeps everything in memory. A second process on the
// same dir is refused.
func Open(dir string) (*Store, error) {
	s := &Store{
		state: newState(), watchers: map[string]map[chan struct{}]struct{}{},
		changes: make(chan change), closing: make(chan struct{}), done: make(chan struct{}),
	}
	if dir == "" {
		close(s.done)
		return s, nil
	}
	j, err := openJournal(dir, func(r *record, b blob) error {
		_, err := s.state.apply(r, b)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open mail store: %w", err)
	}
	s.journal = j
	go s.run()
	return s, nil
}

// Close ends the store; changes that were not acknowledged by then get ErrClosed.
func (s *Store) Close() error {
	var err error
	s.once.Do(func() {
		close(s.closing)
		<-s.done
		if s.journal != nil {
			err = s.journal.close()
		}
	})
	return err
}

// Mailboxes returns the addresses of all mailboxes, sorted.
func (s *Store) Mailboxes() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	out := make([]string, 0, len(s.state.boxes))
	for addr := range s.state.boxes {
		out = append(out, addr)
	}
	slices.Sort(out)
	return out
}

// Exists tells whether the address has a mailbox.
func (s *Store) Exists(addr string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.state.boxes[Address(addr)] != nil
}

// Folders returns snapshots of all folders of a mailbox, in the order they were made.
func (s *Store) Folders(addr string) ([]Folder, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b, err := s.state.box(addr)
	if err != nil {
		return nil, err
	}
	out := make([]Folder, 0, len(b.folders))
	for _, f := range b.folders {
		out = append(out, f.snapshot())
	}
	return out, nil
}

// Folder returns a snapshot of one folder.
func (s *Store) Folder(addr, name string) (Folder, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	f, err := s.state.folder(addr, name)
	if err != nil {
		return Folder{}, err
	}
	return f.snapshot(), nil
}

// Version tells cheaply whether a folder has changed since a snapshot was taken.
func (s *Store) Version(addr, name string) (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	f, err := s.state.folder(addr, name)
	if err != nil {
		return 0, err
	}
	return f.version, nil
}

// Used returns the name of the folder with a special use, or "" if the mailbox has none.
func (s *Store) Used(addr, use string) string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	b, err := s.state.box(addr)
	if err != nil {
		return ""
	}
	for _, f := range b.folders {
		if f.Use == use {
			return f.Name
		}
	}
	return ""
}

// Outbound returns what was sent to foreign domains, oldest first.
func (s *Store) Outbound() []*Outbound {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clone(s.state.outbound)
}

// Watch returns a channel that gets a value after every change of the mailbox (several changes may share one), and a
// function that ends the watch.
func (s *Store) Watch(addr string) (<-chan struct{}, func()) {
	addr = Address(addr)
	c := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watchers[addr] == nil {
		s.watchers[addr] = map[chan struct{}]struct{}{}
	}
	s.watchers[addr][c] = struct{}{}
	return c, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.watchers[addr], c)
	}
}

func (s *Store) notify(addr string) {
	for c := range s.watchers[addr] {
		select {
		case c <- struct{}{}:
		default: // one is waiting there already
		}
	}
}
