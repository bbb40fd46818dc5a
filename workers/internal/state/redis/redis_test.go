package redis

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"mailporter/kit/redistest"
	"mailporter/workers/internal/inbound/inboundtest"
	"mailporter/workers/internal/outbound/outboundtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func openAt(t *testing.T, server *redistest.Server) *Store {
	t.Helper()
	s, err := Open(t.Context(), server.URL(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fresh empties the server; what it returns opens the store, after closing the former handle.
func fresh[T any](server *redistest.Server, part func(*Store) T) func(t *testing.T) func(t *testing.T) T {
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
		cleaner := openAt(t, server)
		defer cleaner.Close()
		if err := cleaner.client.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		return func(t *testing.T) T {
			t.Helper()
			shut()
			last = openAt(t, server)
			return part(last)
		}
	}
}

func TestCheckpoints(t *testing.T) {
	inboundtest.Checkpoints(t, fresh(redistest.Start(t), (*Store).Checkpoints))
}

func TestQuarantine(t *testing.T) {
	inboundtest.Quarantine(t, fresh(redistest.Start(t), (*Store).Quarantine))
}

func TestOutbox(t *testing.T) {
	outboundtest.Outbox(t, fresh(redistest.Start(t), (*Store).Outbox))
}

func TestWarnsAboutALossyRedis(t *testing.T) {
	var log strings.Builder
	s, err := Open(context.Background(), redistest.Start(t, "--appendonly", "no", "--maxmemory-policy", "allkeys-lru").URL(), slog.New(slog.NewTextHandler(&log, nil)))
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
