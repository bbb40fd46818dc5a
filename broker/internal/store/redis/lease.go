package redis

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"mailporter/broker/internal/keeper"
	"mailporter/kit/redisurl"
)

// lease is the right to renew one credential.
type lease struct {
	store  *Store
	id     string
	value  string // of the key in Redis
	record keeper.Record
}

// Lease implements keeper.Credentials.
func (s *Store) Lease(ctx context.Context, id string, ttl time.Duration) (keeper.Lease, error) {
	keys := []string{key(id, "lease"), key(id, "fence"), key(id, "record")}
	answer, err := takeLease.Run(ctx, s.client, keys, max(1, ttl.Milliseconds()), rand.Text()).Slice()
	if err != nil {
		return nil, fmt.Errorf("lease: %w", err)
	}
	value, ok := answer[0].(string)
	if !ok {
		return nil, keeper.ErrLeased
	}
	l := &lease{store: s, id: id, value: value}
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

// Save implements keeper.Lease. A record with a refresh token counts as written once a replica has it, if Redis has
// replicas; what else makes it durable is told by check.
func (l *lease) Save(ctx context.Context, r keeper.Record) error {
	b, err := l.store.sealer.Record(l.id, r)
	if err != nil {
		return err
	}
	confirmed := func() error { return nil }
	if !r.Refresh.Empty() {
		ctx, confirmed = redisurl.Replicated(ctx)
	}
	n, err := saveRecord.Run(ctx, l.store.client, []string{key(l.id, "lease"), key(l.id, "record")}, l.value, b).Int()
	if err == nil && n != 1 {
		return keeper.ErrLost
	}
	if err = cmp.Or(err, confirmed()); err != nil {
		return fmt.Errorf("save record: %w", err)
	}
	l.record = r
	return nil
}

// Release implements keeper.Lease.
func (l *lease) Release(ctx context.Context) error {
	if err := releaseLease.Run(ctx, l.store.client, []string{key(l.id, "lease")}, l.value, channel, l.id).Err(); err != nil {
		return fmt.Errorf("release lease: %w", err)
	}
	return nil
}
