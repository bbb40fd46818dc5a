package file

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/mail"
)

type folderKey = mail.Folder

// leases are the folders that somebody in this process reads.
type leases struct {
	mu   sync.Mutex
	held map[folderKey]*lease
}

// take enters l unless another lease on its folder is alive.
func (ls *leases) take(l *lease) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if old := ls.held[l.folder]; old != nil && time.Now().Before(old.until) {
		return false
	}
	ls.held[l.folder] = l
	l.until = time.Now().Add(l.ttl)
	return true
}

// keep renews l, if it is alive. Once it lapsed it is lost for ever, whether anybody took it or not.
func (ls *leases) keep(l *lease) bool {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.held[l.folder] != l || !time.Now().Before(l.until) {
		l.until = time.Time{}
		return false
	}
	l.until = time.Now().Add(l.ttl)
	return true
}

func (ls *leases) drop(l *lease) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	if ls.held[l.folder] == l {
		delete(ls.held, l.folder)
	}
}

type checkpoints struct{ *Store }

// Lease implements inbound.Checkpoints.
func (s checkpoints) Lease(ctx context.Context, f mail.Folder, ttl time.Duration) (inbound.Lease, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l := &lease{store: s.Store, folder: f, ttl: ttl}
	if !s.leases.take(l) {
		return nil, inbound.ErrLeased
	}
	// After taking it: a cursor that was read before could be older than the former holder's last Save.
	err := s.read.QueryRowContext(ctx, "SELECT cursor FROM cursors WHERE mailbox = ? AND folder = ?", f.Mailbox, f.Name).Scan((*[]byte)(&l.cursor))
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		s.leases.drop(l)
		return nil, fmt.Errorf("read cursor of %s: %w", f, err)
	}
	return l, nil
}

type lease struct {
	store  *Store
	folder mail.Folder
	ttl    time.Duration
	until  time.Time // leases.mu
	cursor inbound.Cursor
}

// Cursor implements inbound.Lease.
func (l *lease) Cursor() inbound.Cursor { return l.cursor }

// Save implements inbound.Lease.
func (l *lease) Save(ctx context.Context, c inbound.Cursor) error {
	err := l.store.change(ctx, func(tx *sql.Tx) error {
		if !l.store.leases.keep(l) {
			return inbound.ErrLost
		}
		_, err := tx.Exec(`INSERT INTO cursors (mailbox, folder, cursor) VALUES (?, ?, ?)
			ON CONFLICT (mailbox, folder) DO UPDATE SET cursor = excluded.cursor`, l.folder.Mailbox, l.folder.Name, []byte(c))
		return err
	})
	if err != nil {
		return fmt.Errorf("save cursor of %s: %w", l.folder, err)
	}
	l.cursor = c
	return nil
}

// Renew implements inbound.Lease.
func (l *lease) Renew(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if !l.store.leases.keep(l) {
		return inbound.ErrLost
	}
	return nil
}

// Release implements inbound.Lease.
func (l *lease) Release(context.Context) error {
	l.store.leases.drop(l)
	return nil
}
