package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"mailporter/kit/redistest"
	"mailporter/kit/redisurl"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/inbound/inboundtest"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/outbound/outboundtest"
)

func suites(t *testing.T, p place) {
	t.Run("checkpoints", func(t *testing.T) { inboundtest.Checkpoints(t, freshAt(p, (*Store).Checkpoints)) })
	t.Run("quarantine", func(t *testing.T) { inboundtest.Quarantine(t, freshAt(p, (*Store).Quarantine)) })
	t.Run("deliveries", func(t *testing.T) { inboundtest.Deliveries(t, freshAt(p, (*Store).Deliveries)) })
	t.Run("peers", func(t *testing.T) { inboundtest.Peers(t, freshAt(p, (*Store).Peers)) })
	t.Run("outbox", func(t *testing.T) { outboundtest.Outbox(t, freshAt(p, (*Store).Outbox)) })
}

func TestCluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 0)
	suites(t, place{url: cluster.URL(), root: cluster.URL()})
	t.Run("mail goes on while its slot moves", func(t *testing.T) {
		slot := cluster.Slot(boxPrefix(busy))
		throughATurmoil(t, place{url: cluster.URL()}, func() {
			for range 2 {
				cluster.Move(slot, nil)
			}
		})
	})
}

func TestClusterFailover(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1)
	throughATurmoil(t, place{url: cluster.URL()}, func() { cluster.Failover(cluster.Slot(boxPrefix(busy))) })
}

func TestSentinel(t *testing.T) {
	t.Parallel()
	sentinel := redistest.StartSentinel(t, "--min-replicas-to-write", "1")
	suites(t, place{url: sentinel.URL(), root: sentinel.URL()})
	t.Run("a failover loses no message", func(t *testing.T) { throughATurmoil(t, place{url: sentinel.URL()}, sentinel.Failover) })
}

// TestTakenOnceAReplicaHasIt: a message that only the primary has is not acknowledged.
func TestTakenOnceAReplicaHasIt(t *testing.T) {
	t.Parallel()
	sentinel := redistest.StartSentinel(t)
	s := openURL(t, sentinel.URL())
	defer s.Close()
	mustAdd(t, s, letter("a", ""))
	for _, r := range sentinel.Replicas() {
		r.Stop()
		defer r.Continue()
	}
	for range 2 { // the second time it is known
		_, err := s.Outbox().Add(t.Context(), letter("b", "insists"))
		if !errors.Is(err, redisurl.ErrNotReplicated) || fault.Of(err) != fault.Temporary {
			t.Fatalf("taken with frozen replicas: %v", err)
		}
	}
	jobs, err := s.Outbox().Claim(t.Context(), []string{"a"}, 1, 1, time.Hour)
	if err != nil || len(jobs) != 1 {
		t.Fatalf("slow replicas must not stop the mail that was taken: %v", err)
	}
	if err := s.Outbox().Settle(t.Context(), jobs[0], outbound.Verdict{Sent: []string{"b@x.example"}}); err != nil {
		t.Fatal(err)
	}
}

// TestAKnownRequestIsWritten: from Redis 7.2 on WAIT confirms nothing behind a script that only read.
func TestAKnownRequestIsWritten(t *testing.T) {
	s := openAt(t, redistest.Start(t))
	defer s.Close()
	mustAdd(t, s, letter("a", "insists"))
	key := boxPrefix("a") + "request:insists"
	if err := s.client.Expire(t.Context(), key, time.Hour).Err(); err != nil {
		t.Fatal(err)
	}
	mustAdd(t, s, letter("a", "insists"))
	if left := s.client.TTL(t.Context(), key).Val(); left <= time.Hour {
		t.Errorf("it is remembered for %s: nothing was written", left)
	}
}

// TestNumbersThatAFailoverForgot: the next lease has the same number, and is another lease all the same.
func TestNumbersThatAFailoverForgot(t *testing.T) {
	s := openAt(t, redistest.Start(t))
	defer s.Close()
	folder := mail.Folder{Mailbox: "a", Name: "INBOX"}
	old, err := s.Checkpoints().Lease(t.Context(), folder, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.client.Del(t.Context(), folderKey(folder, "lease"), folderKey(folder, "fence")).Err(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Checkpoints().Lease(t.Context(), folder, time.Hour); err != nil {
		t.Fatal(err)
	}
	if err := old.Save(t.Context(), inbound.Cursor("c")); !errors.Is(err, inbound.ErrLost) {
		t.Fatalf("save under a forgotten lease: %v", err)
	}
}

// post is mail on its way through one outbox: submitters who insist, workers who send.
type post struct {
	store *Store
	name  string // begins its requests

	mu    sync.Mutex
	taken map[string]bool // acknowledged
	sent  map[string]int
	again []string // given out a second time as if nothing had happened
}

const (
	submitters = 3
	letters    = 30 // of each
	claimLife  = 2 * time.Second
	busy       = "busy@x.example"
)

// throughATurmoil disturbs the Redis while mail goes through it. Every message that was acknowledged is sent; a second time
// only with a warning that it may have been.
func throughATurmoil(t *testing.T, at place, disturb func()) {
	t.Helper()
	p := &post{store: at.open(t, at.url), name: rand.Text(), taken: map[string]bool{}, sent: map[string]int{}}
	defer p.store.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	half := make(chan struct{}, submitters)
	var submitting, sending sync.WaitGroup
	for who := range submitters {
		submitting.Go(func() { p.submit(ctx, who, half) })
	}
	working, stop := context.WithCancel(ctx)
	for range 2 {
		sending.Go(func() { p.send(working) })
	}
	<-half
	disturb()
	submitting.Wait()
	p.awaitEmpty(ctx, t)
	stop()
	sending.Wait()
	if len(p.taken) != submitters*letters || len(p.again) > 0 {
		t.Errorf("%d messages were taken, want %d; sent again without a warning: %v", len(p.taken), submitters*letters, p.again)
	}
	for id := range p.taken {
		if p.sent[id] == 0 {
			t.Errorf("message %s was acknowledged and never sent", id)
		}
	}
}

func (p *post) submit(ctx context.Context, who int, half chan<- struct{}) {
	for i := range letters {
		if i == letters/2 {
			half <- struct{}{}
		}
		for ctx.Err() == nil {
			id, err := p.store.Outbox().Add(ctx, letter(busy, fmt.Sprint(p.name, who, "-", i)))
			if err == nil {
				p.mu.Lock()
				p.taken[id] = true
				p.mu.Unlock()
				break
			}
			pause(ctx)
		}
	}
}

func (p *post) send(ctx context.Context) {
	for ctx.Err() == nil {
		jobs, err := p.store.Outbox().Claim(ctx, []string{busy}, 4, 2, claimLife)
		if err != nil || len(jobs) == 0 {
			pause(ctx)
		}
		for _, j := range jobs {
			p.mu.Lock()
			if p.sent[j.ID]++; p.sent[j.ID] > 1 && !j.InDoubt {
				p.again = append(p.again, j.ID)
			}
			p.mu.Unlock()
			_ = p.store.Outbox().Settle(ctx, j, outbound.Verdict{Sent: []string{"b@x.example"}}) // if that is lost, the claim lapses
		}
	}
}

func (p *post) awaitEmpty(ctx context.Context, t *testing.T) {
	t.Helper()
	for {
		left, err := p.store.Outbox().List(ctx, busy, 1)
		if err == nil && len(left) == 0 {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("mail is left: %v, %v", left, err)
		}
		pause(ctx)
	}
}

func pause(ctx context.Context) {
	select {
	case <-time.After(10 * time.Millisecond):
	case <-ctx.Done():
	}
}

func TestSaysWhatItCannotSee(t *testing.T) {
	server := redistest.Start(t)
	server.User("worker", "pw", "~* +@all -config")
	var log strings.Builder
	s, err := Open(t.Context(), Config{URL: "redis://worker:pw@" + server.Addr()}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := log.String(); !strings.Contains(got, "does not let its user see") || !strings.Contains(got, "appendfsync") {
		t.Fatal(got)
	}
}
