package redis

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailporter/kit/redistest"
	"mailporter/workers/internal/inbound/inboundtest"
	"mailporter/workers/internal/outbound/outboundtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func openAt(t *testing.T, server *redistest.Server) *Store {
	t.Helper()
	return openURL(t, server.URL())
}

func openURL(t *testing.T, url string) *Store {
	t.Helper()
	s, err := Open(t.Context(), Config{URL: url}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fresh empties the server; what it returns opens the store, after closing the former handle.
func fresh[T any](url string, part func(*Store) T) func(t *testing.T) func(t *testing.T) T {
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
		cleaner := openURL(t, url)
		defer cleaner.Close()
		if err := cleaner.client.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		return func(t *testing.T) T {
			t.Helper()
			shut()
			last = openURL(t, url)
			return part(last)
		}
	}
}

func TestCheckpoints(t *testing.T) {
	t.Parallel()
	inboundtest.Checkpoints(t, fresh(redistest.Start(t).URL(), (*Store).Checkpoints))
}

func TestQuarantine(t *testing.T) {
	t.Parallel()
	inboundtest.Quarantine(t, fresh(redistest.Start(t).URL(), (*Store).Quarantine))
}

func TestOutbox(t *testing.T) {
	t.Parallel()
	outboundtest.Outbox(t, fresh(redistest.Start(t).URL(), (*Store).Outbox))
}

// TestInACluster runs the suites on a cluster of one, which refuses scripts that touch two slots as any other does.
func TestInACluster(t *testing.T) {
	t.Parallel()
	url := startCluster(t)
	t.Run("checkpoints", func(t *testing.T) { inboundtest.Checkpoints(t, fresh(url, (*Store).Checkpoints)) })
	t.Run("quarantine", func(t *testing.T) { inboundtest.Quarantine(t, fresh(url, (*Store).Quarantine)) })
	t.Run("outbox", func(t *testing.T) { outboundtest.Outbox(t, fresh(url, (*Store).Outbox)) })
}

// startCluster starts a server that has all slots, and returns its redis+cluster URL.
func startCluster(t *testing.T) string {
	t.Helper()
	bus, err := net.Listen("tcp", "127.0.0.1:0") // the usual one, 10000 above the server's, may not exist
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(bus.Addr().String())
	if err := bus.Close(); err != nil {
		t.Fatal(err)
	}
	server := redistest.Start(t, "--cluster-enabled", "yes", "--cluster-port", port)
	node := openAt(t, server)
	defer node.Close()
	if err := node.client.Do(t.Context(), "CLUSTER", "ADDSLOTSRANGE", 0, 16383).Err(); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		info, err := node.client.ClusterInfo(t.Context()).Result()
		if err == nil && strings.Contains(info, "cluster_state:ok") {
			return "redis+cluster://" + server.Addr()
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatal("the cluster never came up")
		}
	}
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
