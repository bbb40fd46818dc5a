package redis

import (
	"context"
	"testing"

	"github.com/redis/go-redis/v9"

	"mailporter/broker/internal/keeper/keepertest"
	"mailporter/broker/internal/token"
)

func TestContracts(t *testing.T) {
	contracts(t, newFleet(t))
}

// contracts runs the engine's suites.
func contracts(t *testing.T, f *fleet) {
	// fresh is two brokers over an empty Redis, and who spoils it.
	fresh := func(t *testing.T) (a, b, vandal *Store) {
		vandal = f.admin(t)
		must(t, vandal.empty)
		return f.broker(t), f.broker(t), vandal
	}
	t.Run("Cache", func(t *testing.T) {
		keepertest.Cache(t, func(t *testing.T) keepertest.StoredCache {
			a, b, vandal := fresh(t)
			return keepertest.StoredCache{
				Cache: a, Other: b,
				Tamper: func(k token.Key) { vandal.do(t, "HSET", b.tokenKey(k), "v", "spoiled") },
				Move:   func(from, to token.Key) { vandal.move(t, b.tokenKey(from), b.tokenKey(to)) },
			}
		})
	})
	t.Run("Credentials", func(t *testing.T) {
		keepertest.Credentials(t, func(t *testing.T) keepertest.StoredCredentials {
			a, b, vandal := fresh(t)
			return keepertest.StoredCredentials{
				Credentials: a, Other: b,
				Tamper: func(id string) { vandal.do(t, "SET", key(id, "record"), "spoiled") },
				Move:   func(from, to string) { vandal.move(t, key(from, "record"), key(to, "record")) },
			}
		})
	})
}

// empty drops everything, on every primary.
func (s *Store) empty(ctx context.Context) error {
	if c, ok := s.client.(*redis.ClusterClient); ok {
		return c.ForEachMaster(ctx, func(ctx context.Context, n *redis.Client) error { return n.FlushDB(ctx).Err() })
	}
	return s.client.FlushDB(ctx).Err()
}

// move copies a value as it is; COPY would stay within one slot.
func (s *Store) move(t *testing.T, from, to string) {
	t.Helper()
	b, err := s.client.Dump(context.Background(), from).Result()
	if err != nil {
		t.Fatal(err)
	}
	s.do(t, "RESTORE", to, 0, b, "REPLACE")
}

func (s *Store) do(t *testing.T, args ...any) {
	t.Helper()
	if err := s.client.Do(context.Background(), args...).Err(); err != nil {
		t.Fatal(err)
	}
}
