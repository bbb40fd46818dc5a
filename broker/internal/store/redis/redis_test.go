package redis

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/store/seal"
	"mailporter/broker/internal/token"
	"mailporter/kit/redistest"
	"mailporter/kit/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// logged collects a log that another goroutine writes.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// fleet is stores of several brokers that share a server and a keyset.
type fleet struct {
	server *redistest.Server
	keyset string
	log    logged
}

func newFleet(t *testing.T, args ...string) *fleet {
	return &fleet{server: redistest.Start(t, args...), keyset: filepath.Join(t.TempDir(), "keyset.json")}
}

func (f *fleet) broker(t *testing.T) *Store {
	t.Helper()
	sealer, err := seal.OpenOrMake(f.keyset)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(Config{URL: f.server.URL()}, sealer, slog.New(slog.NewTextHandler(&f.log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// must waits for what comes back by itself after a restart: dead connections leave the pool one by one.
func must(t *testing.T, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for {
		err := f(ctx)
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatal(err)
		}
	}
}

var tokenKey = token.Key{Credential: "c", Version: "v", Audience: "a"}

func TestKilledAndRestartedLosesNothing(t *testing.T) {
	f := newFleet(t)
	a, b := f.broker(t), f.broker(t)
	ctx := context.Background()
	must(t, a.Ping)
	l, err := a.Lease(ctx, "c", time.Minute)
	if err == nil {
		err = errors.Join(l.Save(ctx, keeper.Record{Refresh: secret.New("MARKER-rotated")}),
			a.Put(ctx, tokenKey, token.Token{Value: secret.New("MARKER-token"), Generation: 1, Expires: time.Now().Add(time.Hour)}))
	}
	if err != nil {
		t.Fatal(err)
	}
	f.server.Kill()
	if err := l.Save(ctx, keeper.Record{Refresh: secret.New("MARKER-unsaved")}); err == nil || errors.Is(err, keeper.ErrLost) {
		t.Fatalf("save into a dead redis: %v", err)
	}
	if _, err := b.Get(ctx, tokenKey); err == nil {
		t.Fatal("a dead redis answers")
	}
	f.server.Restart()
	must(t, func(ctx context.Context) error {
		return l.Save(ctx, keeper.Record{Refresh: secret.New("MARKER-second")})
	})
	must(t, func(ctx context.Context) error {
		r, err := b.Load(ctx, "c")
		if err == nil && r.Refresh.Reveal() != "MARKER-second" {
			t.Fatal("the record is another")
		}
		return err
	})
	if got, err := b.Get(ctx, tokenKey); err != nil || got.Value.Reveal() != "MARKER-token" {
		t.Fatalf("token: %v", err)
	}
	if _, err := b.Lease(ctx, "c", time.Minute); !errors.Is(err, keeper.ErrLeased) {
		t.Fatalf("the lease did not survive: %v", err)
	}
	if bytes.Contains(f.server.Files(), []byte("MARKER")) || strings.Contains(f.log.String(), "MARKER") {
		t.Fatal("a secret in the clear")
	}
}

// Brokers that fight for one credential while Redis is killed and comes back: no save that was answered is undone.
func TestFencingThroughARestart(t *testing.T) {
	f := newFleet(t)
	must(t, f.broker(t).Ping)
	var wg sync.WaitGroup
	acknowledged := make([]int, 3)
	halfway := make(chan struct{})
	for n := range acknowledged {
		s := f.broker(t)
		wg.Go(func() {
			for i := range 40 {
				if i == 20 && n == 0 {
					close(halfway)
				}
				must(t, func(ctx context.Context) error { return addOne(ctx, s) })
				acknowledged[n]++
			}
		})
	}
	<-halfway
	f.server.Kill()
	f.server.Restart()
	wg.Wait()
	r, err := f.broker(t).Load(context.Background(), "c")
	sum := acknowledged[0] + acknowledged[1] + acknowledged[2]
	if err != nil || r.Failures < sum {
		t.Fatalf("%d increments were acknowledged, the record has %d, %v", sum, r.Failures, err)
	}
}

// addOne counts up under a short lease; a lease whose release was lost lapses.
func addOne(ctx context.Context, s *Store) error {
	l, err := s.Lease(ctx, "c", 300*time.Millisecond)
	if err != nil {
		return err
	}
	r := l.Record()
	r.Failures++
	if err := l.Save(ctx, r); err != nil {
		return err
	}
	_ = l.Release(ctx)
	return nil
}

func TestLeaseLapsesAndIsFenced(t *testing.T) {
	f := newFleet(t)
	a, b := f.broker(t), f.broker(t)
	must(t, b.Ping)
	ctx := context.Background()
	old, err := a.Lease(ctx, "c", time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	var fresh keeper.Lease
	must(t, func(ctx context.Context) error {
		fresh, err = b.Lease(ctx, "c", time.Minute)
		return err
	})
	if err := old.Save(ctx, keeper.Record{Failures: 1}); !errors.Is(err, keeper.ErrLost) {
		t.Fatalf("save of a lapsed lease: %v", err)
	}
	if err := old.Release(ctx); err != nil {
		t.Fatal(err)
	}
	if err := fresh.Save(ctx, keeper.Record{Failures: 2}); err != nil {
		t.Fatalf("the old lease's release ended the new one: %v", err)
	}
	if r, err := a.Load(ctx, "c"); err != nil || r.Failures != 2 {
		t.Fatalf("%+v, %v", r, err)
	}
}

func TestReleaseWakesTheOthers(t *testing.T) {
	f := newFleet(t)
	a, b := f.broker(t), f.broker(t)
	must(t, func(ctx context.Context) error { // the subscription is made in the background
		n, err := a.client.PubSubNumSub(ctx, channel).Result()
		if err == nil && n[channel] < 2 {
			err = errors.New("not subscribed yet")
		}
		return err
	})
	l, err := a.Lease(context.Background(), "c", time.Minute)
	if err == nil {
		err = l.Release(context.Background())
	}
	if err != nil {
		t.Fatal(err)
	}
	select {
	case id := <-b.Changes():
		if id != "c" {
			t.Fatal(id)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("nobody was woken")
	}
}

func TestMovedValuesDoNotOpen(t *testing.T) {
	s := newFleet(t).broker(t)
	must(t, s.Ping)
	ctx := context.Background()
	if err := s.Put(ctx, tokenKey, token.Token{Value: secret.New("x"), Generation: 1, Expires: time.Now().Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	other := token.Key{Credential: "d", Version: "v", Audience: "a"}
	if err := s.client.Copy(ctx, s.tokenKey(tokenKey), s.tokenKey(other), 0, false).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(ctx, other); !errors.Is(err, keeper.ErrSealed) {
		t.Fatalf("a moved token: %v", err)
	}
	if err := s.client.Set(ctx, key("c", "record"), "garbage", 0).Err(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second would answer ErrLeased if the first had kept its lease
		if _, err := s.Lease(ctx, "c", time.Minute); !errors.Is(err, keeper.ErrSealed) {
			t.Fatalf("lease of a broken record: %v", err)
		}
	}
}

func TestWarnsAboutForgetfulServers(t *testing.T) {
	f := newFleet(t, "--appendonly", "no", "--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
	s := f.broker(t)
	must(t, s.Ping)
	if err := s.Close(); err != nil { // ends what checks in the background
		t.Fatal(err)
	}
	info, err := f.broker(t).client.Info(context.Background(), "persistence", "memory").Result()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(warnings(fields(info)), "\n")
	if !strings.Contains(got, "appendonly is off") || !strings.Contains(got, "allkeys-lru") {
		t.Fatalf("warnings: %q", got)
	}
	if w := warnings(map[string]string{"aof_enabled": "1", "maxmemory": "9", "maxmemory_policy": "volatile-lru"}); len(w) != 0 {
		t.Fatalf("a good server is warned about: %v", w)
	}
}
