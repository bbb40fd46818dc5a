package redis

import (
	"context"
	"crypto/tls"
	"log/slog"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"mailporter/kit/redistest"
	"mailporter/workers/internal/inbound/inboundtest"
	"mailporter/workers/internal/outbound/outboundtest"
)

// The library's probe of a dead server, and its look at a cluster, notice within a second that their client was closed.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"),
		goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9.(*clusterStateHolder).LazyReload.func1"))
}

func openAt(t *testing.T, server *redistest.Server) *Store {
	t.Helper()
	return openURL(t, server.URL())
}

func openURL(t *testing.T, url string) *Store {
	t.Helper()
	return place{}.open(t, url)
}

// fresh empties the server; what it returns opens the store, after closing the former handle.
func fresh[T any](url string, part func(*Store) T) func(t *testing.T) func(t *testing.T) T {
	return freshAt(place{url: url, root: url}, part)
}

// place is a Redis, and how somebody gets there who may do everything.
type place struct {
	url, root string
	roots     *tls.Config // for TLS
}

func (p place) open(t *testing.T, url string) *Store {
	t.Helper()
	s, err := Open(t.Context(), Config{URL: url, Roots: p.roots}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func freshAt[T any](p place, part func(*Store) T) func(t *testing.T) func(t *testing.T) T {
	return func(t *testing.T) func(t *testing.T) T {
		var last *Store
		shut := func() {
			if last != nil {
				if err := last.Close(); err != nil {
					t.Fatal(err)
				}
			}
		}
		t.Cleanup(shut)
		cleaner := p.open(t, p.root)
		defer cleaner.Close()
		if err := cleaner.empty(t.Context()); err != nil {
			t.Fatal(err)
		}
		return func(t *testing.T) T {
			t.Helper()
			shut()
			last = p.open(t, p.url)
			return part(last)
		}
	}
}

// empty drops everything, on every primary.
func (s *Store) empty(ctx context.Context) error {
	if c, ok := s.client.(*redis.ClusterClient); ok {
		return c.ForEachMaster(ctx, func(ctx context.Context, n *redis.Client) error { return n.FlushAll(ctx).Err() })
	}
	return s.client.FlushAll(ctx).Err()
}

func TestLedger(t *testing.T) {
	t.Parallel()
	outboundtest.Ledger(t, fresh(redistest.Start(t).URL(), (*Store).Ledger))
}

func TestCheckpoints(t *testing.T) {
	t.Parallel()
	inboundtest.Checkpoints(t, fresh(redistest.Start(t).URL(), (*Store).Checkpoints))
}

func TestQuarantine(t *testing.T) {
	t.Parallel()
	inboundtest.Quarantine(t, fresh(redistest.Start(t).URL(), (*Store).Quarantine))
}

func TestPeers(t *testing.T) {
	t.Parallel()
	inboundtest.Peers(t, fresh(redistest.Start(t).URL(), (*Store).Peers))
}

func TestDeliveries(t *testing.T) {
	t.Parallel()
	inboundtest.Deliveries(t, fresh(redistest.Start(t).URL(), (*Store).Deliveries))
}

func TestOutbox(t *testing.T) {
	t.Parallel()
	outboundtest.Outbox(t, fresh(redistest.Start(t).URL(), (*Store).Outbox))
}

func TestWarnsAboutALossyRedis(t *testing.T) {
	var log strings.Builder
	s, err := Open(context.Background(), Config{URL: redistest.Start(t, "--appendonly", "no", "--maxmemory-policy", "allkeys-lru").URL()}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, want := range []string{"setting=appendonly is=no should-be=yes", "setting=maxmemory-policy is=allkeys-lru should-be=noeviction"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("no warning %q in %s", want, log.String())
		}
	}
}
