package redis

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"path/filepath"
	"strconv"
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

// The library's probe of a dead server, and its look at a cluster, notice within a second that their client was closed.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"),
		goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9.(*clusterStateHolder).LazyReload.func1"))
}

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

// fleet is stores of several brokers that share a Redis and a keyset.
type fleet struct {
	server *redistest.Server // if it is one server
	url    string
	root   string      // URL of somebody who may do everything; empty: url
	roots  *tls.Config // for TLS
	keyset string
	log    logged
}

func newFleet(t *testing.T, args ...string) *fleet {
	server := redistest.Start(t, args...)
	f := fleetAt(t, server.URL())
	f.server = server
	return f
}

func fleetAt(t *testing.T, url string) *fleet {
	return &fleet{url: url, keyset: filepath.Join(t.TempDir(), "keyset.json")}
}

func (f *fleet) broker(t *testing.T) *Store {
	t.Helper()
	return f.open(t, f.url)
}

// admin is a store whose client may do everything.
func (f *fleet) admin(t *testing.T) *Store {
	t.Helper()
	return f.open(t, cmp.Or(f.root, f.url))
}

func (f *fleet) open(t *testing.T, url string) *Store {
	t.Helper()
	sealer, err := seal.OpenOrMake(f.keyset)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Open(Config{URL: url, Roots: f.roots}, sealer, slog.New(slog.NewTextHandler(&f.log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// must waits for what comes back by itself after a restart: dead connections leave the pool one by one.
func must(t *testing.T, f func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		err := f(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-time.After(5 * time.Millisecond):
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
	f.fight(t, func() {
		f.server.Kill()
		f.server.Restart()
	})
}

// fight lets three brokers count one credential's record up, disturbs them halfway, and looks whether what was
// acknowledged is there.
func (f *fleet) fight(t *testing.T, disturb func()) {
	t.Helper()
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
	disturb()
	wg.Wait()
	var r keeper.Record
	must(t, func(ctx context.Context) (err error) {
		r, err = f.broker(t).Load(ctx, "c")
		return err
	})
	if sum := acknowledged[0] + acknowledged[1] + acknowledged[2]; r.Failures < sum {
		t.Fatalf("%d increments were acknowledged, the record has %d", sum, r.Failures)
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
	r.Refresh = secret.New("MARKER-" + strconv.Itoa(r.Failures))
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
	newFleet(t).wakes(t)
}

// wakes checks that a release reaches the other broker.
func (f *fleet) wakes(t *testing.T) {
	t.Helper()
	a, b := f.broker(t), f.broker(t)
	must(t, func(ctx context.Context) error { // a subscription is made in the background: what comes before it is not heard
		l, err := a.Lease(ctx, "c", time.Minute)
		if err == nil {
			err = l.Release(ctx)
		}
		if err != nil {
			return err
		}
		select {
		case id := <-b.Changes():
			if id != "c" {
				t.Fatal(id)
			}
			return nil
		case <-time.After(200 * time.Millisecond):
			return errors.New("nobody was woken")
		}
	})
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

// A failover may forget the last lease and its number: the next one has the same number, and is another lease all the same.
func TestNumbersThatAFailoverForgot(t *testing.T) {
	f := newFleet(t)
	a, b := f.broker(t), f.broker(t)
	must(t, a.Ping)
	ctx := t.Context()
	old, err := a.Lease(ctx, "c", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	a.do(t, "DEL", key("c", "lease"), key("c", "fence"))
	fresh, err := b.Lease(ctx, "c", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := old.Save(ctx, keeper.Record{Failures: 1}); !errors.Is(err, keeper.ErrLost) {
		t.Fatalf("save under a forgotten lease: %v", err)
	}
	if err := fresh.Save(ctx, keeper.Record{Failures: 2}); err != nil {
		t.Fatal(err)
	}
}
