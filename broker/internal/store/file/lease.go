package file

import (
	"context"
	"fmt"
	"time"

	"mailporter/broker/internal/keeper"
)

// lease is the right to renew one credential.
type lease struct {
	store  *Store
	id     string
	fence  int64
	until  time.Time
	record keeper.Record
}

// Lease implements keeper.Credentials.
func (s *Store) Lease(ctx context.Context, id string, ttl time.Duration) (keeper.Lease, error) {
	l := &lease{store: s, id: id, until: time.Now().Add(ttl)}
	if !s.take(l) {
		return nil, keeper.ErrLeased
	}
	if err := l.begin(ctx); err != nil {
		s.drop(l)
		return nil, err
	}
	return l, nil
}

// begin writes the next fencing number and reads the record.
func (l *lease) begin(ctx context.Context) error {
	var b []byte
	err := l.store.db.QueryRowContext(ctx, `INSERT INTO credentials (id, fence) VALUES (?, 1)
		ON CONFLICT (id) DO UPDATE SET fence = fence + 1 RETURNING fence, sealed`, l.id).Scan(&l.fence, &b)
	if err != nil {
		return fmt.Errorf("lease: %w", err)
	}
	if b == nil {
		return nil
	}
	l.record, err = l.store.sealer.OpenRecord(l.id, b)
	return err
}

// take holds the credential for l unless another lease still does.
func (s *Store) take(l *lease) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if held := s.leases[l.id]; held != nil && time.Now().Before(held.until) {
		return false
	}
	s.leases[l.id] = l
	return true
}

func (s *Store) drop(l *lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.leases[l.id] == l {
		delete(s.leases, l.id)
	}
}

func (s *Store) holds(l *lease) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leases[l.id] == l && time.Now().Before(l.until)
}

// Record implements keeper.Lease.
func (l *lease) Record() keeper.Record { return l.record }

// Save implements keeper.Lease. The fencing number decides in the database, so that a lease which runs out between the
// look and the write cannot undo its successor's work.
func (l *lease) Save(ctx context.Context, r keeper.Record) error {
	if !l.store.holds(l) {
		return keeper.ErrLost
	}
	b, err := l.store.sealer.Record(l.id, r)
	if err != nil {
		return err
	}
	done, err := l.store.db.ExecContext(ctx, "UPDATE credentials SET sealed = ? WHERE id = ? AND fence = ?", b, l.id, l.fence)
	if err != nil {
		return fmt.Errorf("save record: %w", err)
	}
	if n, err := done.RowsAffected(); err != nil || n != 1 {
		return keeper.ErrLost
	}
	l.record = r
	return nil
}

// Release implements keeper.Lease.
func (l *lease) Release(context.Context) error {
	l.store.drop(l)
	return nil
}
