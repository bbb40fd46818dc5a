package inboundtest

import (
	"bytes"
	"context"
	"slices"
	"sync"
	"time"

	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/mail"
)

// State is Checkpoints, Quarantine and Peers in memory. The zero value is empty.
type State struct {
	mu      sync.Mutex
	peers   map[[2]string]time.Time // until when, by group and worker
	folders map[mail.Folder]*checkpoint
	noted   []inbound.Quarantined
}

var (
	_ inbound.Checkpoints = (*State)(nil)
	_ inbound.Quarantine  = (*State)(nil)
	_ inbound.Peers       = (*State)(nil)
)

// checkpoint is what is known of one folder.
type checkpoint struct {
	cursor inbound.Cursor
	fence  int       // number of the last lease
	until  time.Time // when it ends; zero = it was released
}

type lease struct {
	state  *State
	at     *checkpoint
	fence  int
	ttl    time.Duration
	cursor inbound.Cursor
}

// Lease implements inbound.Checkpoints.
func (s *State) Lease(ctx context.Context, f mail.Folder, ttl time.Duration) (inbound.Lease, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.folders[f]
	if c == nil {
		c = &checkpoint{}
		if s.folders == nil {
			s.folders = map[mail.Folder]*checkpoint{}
		}
		s.folders[f] = c
	}
	if time.Now().Before(c.until) {
		return nil, inbound.ErrLeased
	}
	c.fence++
	c.until = time.Now().Add(ttl)
	return &lease{state: s, at: c, fence: c.fence, ttl: ttl, cursor: bytes.Clone(c.cursor)}, nil
}

// Expire ends the lease of a folder at once, as if its holder had slept through it.
func (s *State) Expire(f mail.Folder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.folders[f]; c != nil {
		c.fence++
		c.until = time.Time{}
	}
}

// Saved is the cursor saved last.
func (s *State) Saved(f mail.Folder) inbound.Cursor {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.folders[f]; c != nil {
		return bytes.Clone(c.cursor)
	}
	return nil
}

// Leased says whether somebody holds the folder.
func (s *State) Leased(f mail.Folder) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.folders[f]
	return c != nil && time.Now().Before(c.until)
}

func (l *lease) Cursor() inbound.Cursor { return l.cursor }

func (l *lease) Save(ctx context.Context, c inbound.Cursor) error {
	return l.extend(ctx, func() { l.cursor, l.at.cursor = bytes.Clone(c), bytes.Clone(c) })
}

func (l *lease) Renew(ctx context.Context) error { return l.extend(ctx, func() {}) }

func (l *lease) extend(ctx context.Context, also func()) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	if l.at.fence != l.fence || !time.Now().Before(l.at.until) {
		return inbound.ErrLost
	}
	l.at.until = time.Now().Add(l.ttl)
	also()
	return nil
}

func (l *lease) Release(context.Context) error {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	if l.at.fence == l.fence {
		l.at.until = time.Time{}
	}
	return nil
}

// Announce implements inbound.Peers.
func (s *State) Announce(ctx context.Context, group, worker string, ttl time.Duration) (all []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.peers == nil {
		s.peers = map[[2]string]time.Time{}
	}
	s.peers[[2]string{group, worker}] = time.Now().Add(ttl)
	for name, until := range s.peers {
		if name[0] == group && time.Now().Before(until) {
			all = append(all, name[1])
		}
	}
	return all, ctx.Err()
}

// Leave implements inbound.Peers.
func (s *State) Leave(_ context.Context, group, worker string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.peers, [2]string{group, worker})
	return nil
}

// Note implements inbound.Quarantine.
func (s *State) Note(_ context.Context, q inbound.Quarantined) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.index(q.Folder, q.Item.Key); i >= 0 {
		s.noted[i].Moved = q.Moved
		return nil
	}
	s.noted = append(s.noted, q)
	return nil
}

// Has implements inbound.Quarantine.
func (s *State) Has(_ context.Context, f mail.Folder, key string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.index(f, key) >= 0, nil
}

// List implements inbound.Quarantine.
func (s *State) List(_ context.Context, mailbox string, limit int) ([]inbound.Quarantined, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []inbound.Quarantined
	for _, q := range s.noted {
		if mailbox == "" || q.Folder.Mailbox == mailbox {
			all = append(all, q)
		}
	}
	slices.SortStableFunc(all, func(a, b inbound.Quarantined) int { return a.Since.Compare(b.Since) })
	return all[:min(limit, len(all))], nil
}

// index is where a message is noted, or -1; s.mu is held.
func (s *State) index(f mail.Folder, key string) int {
	return slices.IndexFunc(s.noted, func(q inbound.Quarantined) bool { return q.Folder == f && q.Item.Key == key })
}

// DeliveriesInMemory is inbound.Deliveries for tests of sinks. The zero value is empty.
type DeliveriesInMemory struct{ ids sync.Map }

var _ inbound.Deliveries = (*DeliveriesInMemory)(nil)

// Note implements inbound.Deliveries.
func (d *DeliveriesInMemory) Note(ctx context.Context, id string) error {
	d.ids.Store(id, true)
	return ctx.Err()
}

// Has implements inbound.Deliveries.
func (d *DeliveriesInMemory) Has(ctx context.Context, id string) (bool, error) {
	_, has := d.ids.Load(id)
	return has, ctx.Err()
}
