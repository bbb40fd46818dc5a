package redis

import (
	"context"
	"testing"

	"mailporter/broker/internal/keeper/keepertest"
	"mailporter/broker/internal/token"
)

func TestContracts(t *testing.T) {
	f := newFleet(t)
	// fresh is two brokers over an empty Redis.
	fresh := func(t *testing.T) (a, b *Store) {
		a, b = f.broker(t), f.broker(t)
		must(t, func(ctx context.Context) error { return a.client.FlushDB(ctx).Err() })
		return a, b
	}
	t.Run("Cache", func(t *testing.T) {
		keepertest.Cache(t, func(t *testing.T) keepertest.StoredCache {
			a, b := fresh(t)
			return keepertest.StoredCache{
				Cache: a, Other: b,
				Tamper: func(k token.Key) { b.do(t, "HSET", b.tokenKey(k), "v", "spoiled") },
				Move:   func(from, to token.Key) { b.do(t, "COPY", b.tokenKey(from), b.tokenKey(to), "REPLACE") },
			}
		})
	})
	t.Run("Credentials", func(t *testing.T) {
		keepertest.Credentials(t, func(t *testing.T) keepertest.StoredCredentials {
			a, b := fresh(t)
			return keepertest.StoredCredentials{
				Credentials: a, Other: b,
				Tamper: func(id string) { b.do(t, "SET", key(id, "record"), "spoiled") },
				Move:   func(from, to string) { b.do(t, "COPY", key(from, "record"), key(to, "record"), "REPLACE") },
			}
		})
	})
}

func (s *Store) do(t *testing.T, args ...any) {
	t.Helper()
	if err := s.client.Do(context.Background(), args...).Err(); err != nil {
		t.Fatal(err)
	}
}
