package redis

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"mailporter/broker/internal/keeper"
	"mailporter/kit/redistest"
	"mailporter/kit/redisurl"
	"mailporter/kit/secret"
)

func TestSentinel(t *testing.T) {
	t.Parallel()
	sentinel := redistest.StartSentinel(t, "--min-replicas-to-write", "1")
	f := fleetAt(t, sentinel.URL())
	t.Run("contracts", func(t *testing.T) { contracts(t, f) })
	t.Run("fencing through a failover", func(t *testing.T) { f.fight(t, sentinel.Failover) })
	t.Run("wakes after it", f.wakes)
}

// A record that no replica has is not acknowledged: the failover that comes may throw it away, but nothing that was.
func TestSaveIsNotAnsweredBeforeAReplicaHasIt(t *testing.T) {
	t.Parallel()
	sentinel := redistest.StartSentinel(t)
	f := fleetAt(t, sentinel.URL())
	s := f.broker(t)
	must(t, s.Ping)
	ctx := t.Context()
	l, err := s.Lease(ctx, "c", time.Hour)
	if err == nil {
		err = l.Save(ctx, keeper.Record{Refresh: secret.New("acknowledged")})
	}
	if err != nil {
		t.Fatal(err)
	}
	replicas := sentinel.Replicas()
	for _, r := range replicas {
		r.Stop()
	}
	if err := l.Save(ctx, keeper.Record{Refresh: secret.New("unsure")}); !errors.Is(err, redisurl.ErrNotReplicated) {
		t.Fatalf("saved with frozen replicas: %v", err)
	}
	other, err := s.Lease(ctx, "d", time.Hour)
	if err == nil {
		err = other.Save(ctx, keeper.Record{Failures: 1})
	}
	if err != nil {
		t.Fatalf("a record without a refresh token need not wait: %v", err)
	}
	sentinel.Primary().Kill()
	for _, r := range replicas {
		r.Continue()
	}
	must(t, func(ctx context.Context) error {
		r, err := s.Load(ctx, "c")
		if err == nil && r.Refresh.Empty() {
			t.Error("what was acknowledged is lost")
		}
		return err
	})
}

func TestCluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	f := fleetAt(t, cluster.URL())
	slot := cluster.Slot(key("c", "record"))
	t.Run("contracts", func(t *testing.T) { contracts(t, f) })
	t.Run("fencing while the slot moves", func(t *testing.T) {
		f.fight(t, func() {
			for range 3 {
				cluster.Move(slot, nil)
			}
		})
	})
	t.Run("wakes after it", f.wakes)
	t.Run("wakes while the slot moves", func(t *testing.T) { wakesWhileMoving(t, f, cluster, slot) })
	t.Run("fencing through a failover", func(t *testing.T) { f.fight(t, func() { cluster.Failover(slot) }) })
	t.Run("wakes after that", f.wakes)
	if got := f.log.String(); strings.Contains(got, "CROSSSLOT") || strings.Contains(got, "MARKER") {
		t.Fatal(got)
	}
}

// wakesWhileMoving takes and releases leases on both sides of a slot that is on its way. Each release must be heard.
func wakesWhileMoving(t *testing.T, f *fleet, cluster *redistest.Cluster, slot int) {
	a, b := f.broker(t), f.broker(t)
	f.wakes(t)
	var working sync.WaitGroup
	cluster.Move(slot, func() {
		working.Go(func() {
			must(t, func(ctx context.Context) error { return addOne(ctx, a) })
		})
	})
	working.Wait()
	select {
	case <-b.Changes():
	case <-time.After(30 * time.Second):
		t.Error("nobody was woken")
	}
}
