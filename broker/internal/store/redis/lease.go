package redis

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"mailporter/broker/internal/keeper"
)

// lease is the right to renew one credential.
type lease struct {
	store  *Store
	id     string
	fence  string // decimal, as Redis has it
	record keeper.Record
}

// Lease implements keeper.Credentials.
func (s *Store) Lease(ctx context.Context, id string, ttl time.Duration) (keeper.Lease, error) {
	keys := []string{key(id, "lease"), key(id, "fence"), key(id, "record")}
	answer, err := takeLease.Run(ctx, s.client, keys, max(1, ttl.Milliseconds())).Slice()
	if err != nil {
		return nil, fmt.Errorf("lease: %w", err)
	}
	fence, ok := answer[0].(int64)
	if !ok || fence == 0 {
		return nil, keeper.ErrLeased
	}
	l := &lease{store: s, id: id, fence: strconv.FormatInt(fence, 10)}
	if len(answer) > 1 {
		if sealed, ok := answer[1].(string); ok {
			if l.record, err = s.sealer.OpenRecord(id, []byte(sealed)); err != nil {
				_ = l.Release(ctx) // else it lapses; the error that counts is the other
				return nil, err
			}
		}
	}
	return l, nil
}

// Record implements keeper.Lease.
func (l *lease) Record() keeper.Record { return l.record }

// Save implements keeper.Lease. It is durable as far as Redis is: see check.
func (l *lease) Save(ctx context.Context, r keeper.Record) error {
	b, err := l.store.sealer.Record(l.id, r)
	if err != nil {
		return err
	}
	n, err := saveRecord.Run(ctx, l.store.client, []string{key(l.id, "lease"), key(l.id, "record")}, l.fence, b).Int()
	if err != nil {
		return fmt.Errorf("save record: %w", err)
	}
	if n != 1 {
		return keeper.ErrLost
	}
	l.record = r
	return nil
}

// Release implements keeper.Lease.
func (l *lease) Release(ctx context.Context) error {
	if err := releaseLease.Run(ctx, l.store.client, []string{key(l.id, "lease")}, l.fence, channel, l.id).Err(); err != nil {
		return fmt.Errorf("release lease: %w", err)
	}
	return nil
}
