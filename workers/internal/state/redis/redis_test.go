package redis

import (
	"context"
	"crypto/tls"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"mailporter/kit/redistest"
	"mailporter/workers/internal/inbound/inboundtest"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
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

// TestBacklogAmongOlderWorkers: a worker of a version that does not keep "waiting" shares the outbox. What it sent is no
// longer the oldest, and what it took in is counted.
func TestBacklogAmongOlderWorkers(t *testing.T) {
	t.Parallel()
	s := openAt(t, redistest.Start(t))
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	const mailbox, ann = "support@contoso.example", "ann@elsewhere.example"
	waitingKey := boxPrefix(mailbox) + "waiting"
	submit := func() {
		t.Helper()
		to := []mail.Recipient{{Address: ann}}
		if _, err := s.Outbox().Add(t.Context(), outbound.Submission{Mailbox: mailbox, Envelope: mail.Envelope{From: mailbox, Recipients: to}, Body: strings.NewReader("x")}); err != nil {
			t.Fatal(err)
		}
	}
	submit()
	began := time.Now().Add(-time.Minute)
	for i := range 2500 { // sent by an older worker, long ago
		s.client.ZAdd(t.Context(), waitingKey, redis.Z{Score: float64(i), Member: "gone" + strconv.Itoa(i)})
	}
	for range 3 { // a thousand strangers are put right at a time
		wantOne(t, s, 1, began)
	}
	if n := s.client.ZCard(t.Context(), waitingKey).Val(); n != 1 {
		t.Errorf("%d are said to wait, want 1", n)
	}
	s.client.Del(t.Context(), waitingKey) // taken in by an older worker
	wantOne(t, s, 1, began)
	submit()
	wantOne(t, s, 2, began)
	submit()
	jobs, err := s.Outbox().Claim(t.Context(), []string{mailbox}, 9, 9, time.Minute)
	if err != nil || len(jobs) != 3 {
		t.Fatalf("%d jobs, %v", len(jobs), err)
	}
	v := []outbound.Verdict{{Sent: []string{ann}}, {Sent: []string{ann}}, {Dead: []outbound.Failure{{Address: ann, Reason: "550"}}}}
	for i, j := range jobs {
		if err := s.Outbox().Settle(t.Context(), j, v[i]); err != nil {
			t.Fatal(err)
		}
	}
	if n := s.client.ZCard(t.Context(), waitingKey).Val(); n != 0 { // nobody asked meanwhile: nothing is left to be put right
		t.Errorf("%d are said to wait", n)
	}
}

// wantOne wants one mailbox with so many messages, none older than that.
func wantOne(t *testing.T, s *Store, messages int64, since time.Time) {
	t.Helper()
	all, err := s.Outbox().Backlogs(t.Context())
	if err != nil || len(all) != 1 || all[0].Messages != messages || all[0].Oldest.Before(since) {
		t.Fatalf("%+v, %v; want %d messages", all, err, messages)
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
