package redis

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// announce notes a worker, forgets those whose time is over, and answers with the others. The time is Redis's: the clocks
// of two pods may differ.
// KEYS: peers. ARGV: worker, ttl in milliseconds.
var announce = redis.NewScript(`
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
return redis.call('ZRANGE', KEYS[1], 0, -1)`)

type peers struct{ *Store }

func peersKey(group string) string { return prefix + "peers:" + group }

// Announce implements inbound.Peers.
func (s peers) Announce(ctx context.Context, group, worker string, ttl time.Duration) ([]string, error) {
	all, err := announce.Run(ctx, s.client, []string{peersKey(group)}, worker, ttl.Milliseconds()).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("announce a worker: %w", err)
	}
	return all, nil
}

// Leave implements inbound.Peers.
func (s peers) Leave(ctx context.Context, group, worker string) error {
	if err := s.client.ZRem(ctx, peersKey(group), worker).Err(); err != nil {
		return fmt.Errorf("leave: %w", err)
	}
	return nil
}
