package redis

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"mailporter/kit/redistest"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
)

// TestServerKilled kills the Redis with SIGKILL while messages are added and cursors saved, and starts it again: what was
// acknowledged is there.
func TestServerKilled(t *testing.T) {
	server := redistest.Start(t, "--appendfsync", "always")
	s := openAt(t, server)
	defer s.Close()
	l, err := s.Checkpoints().Lease(t.Context(), mail.Folder{Mailbox: "a", Name: "INBOX"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	load := &load{store: s, lease: l, added: map[string]int{}}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for worker := range 4 {
		running.Go(func() { load.add(ctx, worker) })
	}
	running.Go(func() { load.save(ctx) })
	for round := range 3 {
		load.await(t, 40*(round+1))
		server.Kill()
		server.Restart()
	}
	load.await(t, 160)
	stop()
	running.Wait()
	load.verify(t)
}

type load struct {
	store *Store
	lease inbound.Lease

	mu     sync.Mutex
	added  map[string]int // id -> size
	cursor int
}

func (l *load) add(ctx context.Context, worker int) {
	for i := 0; ctx.Err() == nil; i++ {
		size := 1 + i%4*chunk
		m := outbound.Submission{Mailbox: fmt.Sprint(worker), Body: strings.NewReader(strings.Repeat("x", size)),
			Envelope: mail.Envelope{Recipients: []mail.Recipient{{Address: "b@x.example"}}}}
		if id, err := l.store.Outbox().Add(ctx, m); err == nil {
			l.mu.Lock()
			l.added[id] = size
			l.mu.Unlock()
		}
	}
}

func (l *load) save(ctx context.Context) {
	for i := 1; ctx.Err() == nil; i++ {
		if err := l.lease.Save(ctx, inbound.Cursor(strconv.Itoa(i))); err == nil {
			l.mu.Lock()
			l.cursor = i
			l.mu.Unlock()
		}
	}
}

// await waits until so many messages were acknowledged.
func (l *load) await(t *testing.T, n int) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(30 * time.Second)
	for {
		l.mu.Lock()
		have := len(l.added)
		l.mu.Unlock()
		if have >= n {
			return
		}
		select {
		case <-tick.C:
		case <-limit:
			t.Fatalf("only %d messages were taken", have)
		}
	}
}

func (l *load) verify(t *testing.T) {
	t.Helper()
	all, err := l.store.Outbox().List(t.Context(), "", 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, m := range all {
		there[m.ID] = true
		r, err := l.store.Outbox().Open(t.Context(), outbound.Job{ID: m.ID, Mailbox: m.Mailbox})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, r); err != nil || n != m.Size {
			t.Fatalf("message %s has %d bytes of %d, %v", m.ID, n, m.Size, err)
		}
	}
	for id := range l.added {
		if !there[id] {
			t.Errorf("message %s was acknowledged and is lost", id)
		}
	}
	if err := l.lease.Renew(t.Context()); err != nil {
		t.Errorf("the lease did not survive: %v", err)
	}
	if err := l.lease.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	next, err := l.store.Checkpoints().Lease(t.Context(), mail.Folder{Mailbox: "a", Name: "INBOX"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := strconv.Atoi(string(next.Cursor())); got < l.cursor {
		t.Errorf("cursor %d, though %d was acknowledged", got, l.cursor)
	}
}
