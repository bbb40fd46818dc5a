package redis

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/mail"
)

// takeLease answers {value of the lease, cursor or nil}, or {nil} while somebody holds it. A lease whose answer was lost
// lapses unused. The value is the fencing number and something that nobody else has: a failover may forget the last number,
// and two leases of one number would be one lease.
// KEYS: lease, fence, cursor. ARGV: ttl in milliseconds, something unique.
var takeLease = redis.NewScript(`
if redis.call('EXISTS', KEYS[1]) == 1 then return {false} end
local value = redis.call('INCR', KEYS[2]) .. ':' .. ARGV[2]
redis.call('SET', KEYS[1], value, 'PX', ARGV[1])
return {value, redis.call('GET', KEYS[3])}`)

// keepLease renews the lease if it is still the caller's, and saves the cursor if there is one.
// KEYS: lease, cursor. ARGV: value of the lease, ttl in milliseconds, cursor (absent: only renew).
var keepLease = redis.NewScript(`
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[3] then redis.call('SET', KEYS[2], ARGV[3]) end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1`)

// dropLease gives up the lease if it is still the caller's.
// KEYS: lease. ARGV: value of the lease.
var dropLease = redis.NewScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 1`)

type checkpoints struct{ *Store }

// folderKey names a folder's keys. The hash keeps names out of the hash tag that hold braces.
func folderKey(f mail.Folder, what string) string {
	return fmt.Sprintf("%s{f:%x}:%s", prefix, sha256.Sum256([]byte(f.Mailbox+"\x00"+f.Name)), what)
}

// Lease implements inbound.Checkpoints.
func (s checkpoints) Lease(ctx context.Context, f mail.Folder, ttl time.Duration) (inbound.Lease, error) {
	keys := []string{folderKey(f, "lease"), folderKey(f, "fence"), folderKey(f, "cursor")}
	answer, err := takeLease.Run(ctx, s.client, keys, ttl.Milliseconds(), rand.Text()).Slice()
	if err != nil {
		return nil, fmt.Errorf("lease %s: %w", f, err)
	}
	value, ok := answer[0].(string)
	if !ok {
		return nil, inbound.ErrLeased
	}
	l := &lease{store: s.Store, folder: f, ttl: ttl, value: value}
	if cursor, ok := answer[1].(string); ok {
		l.cursor = inbound.Cursor(cursor)
	}
	return l, nil
}

type lease struct {
	store  *Store
	folder mail.Folder
	ttl    time.Duration
	value  string // of the key in Redis
	cursor inbound.Cursor
	lost   bool
}

// Cursor implements inbound.Lease.
func (l *lease) Cursor() inbound.Cursor { return l.cursor }

// Save implements inbound.Lease.
func (l *lease) Save(ctx context.Context, c inbound.Cursor) error {
	if err := l.keep(ctx, []byte(c)); err != nil {
		return fmt.Errorf("save cursor of %s: %w", l.folder, err)
	}
	l.cursor = c
	return nil
}

// Renew implements inbound.Lease.
func (l *lease) Renew(ctx context.Context) error { return l.keep(ctx) }

func (l *lease) keep(ctx context.Context, cursor ...any) error {
	if l.lost {
		return inbound.ErrLost
	}
	args := append([]any{l.value, l.ttl.Milliseconds()}, cursor...)
	kept, err := keepLease.Run(ctx, l.store.client, []string{folderKey(l.folder, "lease"), folderKey(l.folder, "cursor")}, args...).Int()
	if err != nil {
		return err
	}
	if kept == 0 {
		l.lost = true
		return inbound.ErrLost
	}
	return nil
}

// Release implements inbound.Lease.
func (l *lease) Release(ctx context.Context) error {
	err := dropLease.Run(ctx, l.store.client, []string{folderKey(l.folder, "lease")}, l.value).Err()
	if err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("release %s: %w", l.folder, err)
	}
	return nil
}
