package redisurl_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"mailporter/kit/redistest"
	"mailporter/kit/redisurl"
)

// The library's probe of a dead server, and its look at a cluster, notice within a second that their client was closed.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"),
		goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9.(*clusterStateHolder).LazyReload.func1"))
}

func open(t *testing.T, url string, change func(*redis.UniversalOptions)) redis.UniversalClient {
	t.Helper()
	o, err := redisurl.Parse(url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(o)
	}
	c := redisurl.Open(o)
	t.Cleanup(func() { c.Close() })
	return c
}

// lossy cuts the connection of the next INCR after it was sent: redis does it, and nobody hears of it.
type lossy struct {
	net.Conn
	armed *atomic.Bool
	cut   bool
}

func (l *lossy) Write(b []byte) (int, error) {
	if bytes.Contains(bytes.ToLower(b), []byte("incr")) && l.armed.CompareAndSwap(true, false) {
		l.cut = true
	}
	return l.Conn.Write(b)
}

func (l *lossy) Read(b []byte) (int, error) {
	n, err := l.Conn.Read(b)
	if l.cut && err == nil {
		l.Conn.Close()
		return l.Conn.Read(b)
	}
	return n, err
}

// A command whose answer was lost may have been done: nobody but its caller knows whether it may be done twice.
func TestLostAnswersAreNotAskedForTwice(t *testing.T) {
	cluster := redistest.StartCluster(t, 0)
	for name, url := range map[string]string{"one server": redistest.Start(t).URL(), "cluster": cluster.URL()} {
		for _, replicated := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				var armed atomic.Bool
				c := open(t, url, func(o *redis.UniversalOptions) {
					o.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
						conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
						return &lossy{Conn: conn, armed: &armed}, err
					}
				})
				ctx := t.Context()
				if err := c.Set(ctx, "n", 0, 0).Err(); err != nil {
					t.Fatal(err)
				}
				armed.Store(true)
				writing := ctx
				if replicated {
					writing, _ = redisurl.Replicated(ctx)
				}
				if err := c.Incr(writing, "n").Err(); err == nil {
					t.Fatal("the answer was not lost")
				}
				if n, err := c.Get(ctx, "n").Int(); err != nil || n != 1 {
					t.Fatalf("done %d times, %v", n, err)
				}
			})
		}
	}
}

// While a slot is on its way, scripts that need keys of both sides wait until it has arrived.
func TestFollowsASlotThatMoves(t *testing.T) {
	cluster := redistest.StartCluster(t, 0)
	c := open(t, cluster.URL(), nil)
	script := redis.NewScript(`redis.call('SET', KEYS[3], 'x'); return redis.call('GET', KEYS[1]) .. redis.call('GET', KEYS[2])`)
	keys := []string{"{tag}a", "{tag}b", "{tag}c"}
	for _, k := range keys[:2] {
		if err := c.Set(t.Context(), k, "1", 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	slot := cluster.Slot(keys[0])
	for range 3 {
		answers := make(chan error, 10)
		asked := 0
		cluster.Move(slot, func() {
			asked++
			go func() {
				ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
				defer cancel()
				answers <- script.Run(ctx, c, keys).Err()
			}()
		})
		for range asked {
			if err := <-answers; err != nil {
				t.Error(err)
			}
		}
	}
}

// A dead primary is not asked for longer than its replica needs to take its place.
func TestFollowsAFailover(t *testing.T) {
	cluster := redistest.StartCluster(t, 1)
	c := open(t, cluster.URL(), nil)
	ctx, confirmed := redisurl.Replicated(t.Context())
	if err := errors.Join(c.Set(ctx, "key", "1", 0).Err(), confirmed()); err != nil {
		t.Fatal(err)
	}
	cluster.Failover(cluster.Slot("key"))
	limited, cancel := context.WithTimeout(t.Context(), 20*time.Second) // the library alone would take a minute
	defer cancel()
	for {
		got, err := c.Get(limited, "key").Result()
		if err == nil && got == "1" {
			return
		}
		if limited.Err() != nil {
			t.Fatal(got, err)
		}
	}
}

func TestReplicated(t *testing.T) {
	s := redistest.StartSentinel(t)
	c := open(t, s.URL(), nil)
	ctx, confirmed := redisurl.Replicated(t.Context())
	if err := errors.Join(c.Set(ctx, "key", "1", 0).Err(), confirmed()); err != nil {
		t.Fatal(err)
	}
	for _, n := range s.Replicas() {
		n.Stop()
	}
	ctx, confirmed = redisurl.Replicated(t.Context())
	if err := c.Set(ctx, "key", "2", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if err := confirmed(); !errors.Is(err, redisurl.ErrNotReplicated) {
		t.Fatalf("frozen replicas confirmed: %v", err)
	}
	for _, n := range s.Replicas() {
		n.Continue()
	}
}

// Without replicas there is nobody to wait for.
func TestReplicatedWithoutReplicas(t *testing.T) {
	c := open(t, redistest.Start(t).URL(), nil)
	ctx, confirmed := redisurl.Replicated(t.Context())
	if err := errors.Join(c.Set(ctx, "key", "1", 0).Err(), confirmed()); err != nil {
		t.Fatal(err)
	}
	got, err := redis.NewScript(`return redis.call('GET', KEYS[1])`).Run(ctx, c, []string{"key"}).Text()
	if err != nil || got != "1" {
		t.Fatal(got, err)
	}
	if err := c.Do(ctx, "NONSENSE").Err(); err == nil || !strings.Contains(err.Error(), "NONSENSE") {
		t.Fatalf("redis's own words are lost: %v", err)
	}
}

// counting counts what is written to a connection.
type counting struct {
	net.Conn
	writes *atomic.Int64
}

func (c counting) Write(b []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(b)
}

// Without replicas a write costs no more than it does without the question for them.
func TestReplicatedWithoutReplicasIsOneRoundTrip(t *testing.T) {
	var writes atomic.Int64
	c := open(t, redistest.Start(t).URL(), func(o *redis.UniversalOptions) {
		o.Dialer = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
			return counting{conn, &writes}, err
		}
	})
	ctx, confirmed := redisurl.Replicated(t.Context())
	if err := c.Ping(ctx).Err(); err != nil { // connects
		t.Fatal(err)
	}
	before := writes.Load()
	for range 10 {
		if err := errors.Join(c.Incr(ctx, "n").Err(), confirmed()); err != nil {
			t.Fatal(err)
		}
	}
	if n := writes.Load() - before; n != 10 {
		t.Errorf("%d round trips for 10 writes", n)
	}
}

// Rights that are missing are named where they count, and do not stop what can be done without.
func TestReplicatedWithoutRights(t *testing.T) {
	s := redistest.StartSentinel(t)
	for name, tc := range map[string]struct {
		rights string
		want   error
	}{"no INFO": {"~* +@all -info", nil}, "no WAIT": {"~* +@all -wait", redisurl.ErrNotReplicated}} {
		t.Run(name, func(t *testing.T) {
			s.Primary().User("u", "p", tc.rights)
			c := open(t, s.Primary().URLOf("u", "p"), nil)
			ctx, confirmed := redisurl.Replicated(t.Context())
			if err := c.Set(ctx, "key", "1", 0).Err(); err != nil {
				t.Fatal(err)
			}
			if err := confirmed(); !errors.Is(err, tc.want) || tc.want != nil && !strings.Contains(err.Error(), "NOPERM") {
				t.Fatal(err)
			}
		})
	}
}
