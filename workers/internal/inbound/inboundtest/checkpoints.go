package inboundtest

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/mail"
)

// ttl is the length of the leases that a test lets lapse; long is that of those it does not.
const (
	ttl  = time.Second
	long = time.Hour
)

var inbox = mail.Folder{Mailbox: "support@contoso.example", Name: "INBOX"}

// Checkpoints tests an implementation. fresh makes an empty store; what it returns opens that store, and closes the former
// handle first if it is called again: a restart. The suite waits for leases to lapse, a few seconds in all, and runs
// inside a synctest bubble if the implementation does.
func Checkpoints(t *testing.T, fresh func(t *testing.T) (open func(t *testing.T) inbound.Checkpoints)) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, func(*testing.T) inbound.Checkpoints){
		"a new folder has no cursor":           newFolder,
		"the cursor is kept":                   cursorKept,
		"the cursor survives a restart":        cursorSurvives,
		"one lease at a time":                  oneLease,
		"folders do not touch each other":      foldersApart,
		"release hands over at once":           releaseHandsOver,
		"a lapsed lease goes to the next":      lapse,
		"a lapsed lease stays lost":            lapseAlone,
		"renewing keeps the lease":             renewKeeps,
		"of many who ask at once one gets it":  race,
		"a cancelled context takes no lease":   cancelled,
		"a lost lease does not move a cursor":  lostCursor,
		"release of a lost lease harms nobody": lostRelease,
	} {
		t.Run(name, func(t *testing.T) { test(t, fresh(t)) })
	}
}

func take(t *testing.T, c inbound.Checkpoints, f mail.Folder, d time.Duration) inbound.Lease {
	t.Helper()
	l, err := c.Lease(t.Context(), f, d)
	if err != nil {
		t.Fatalf("lease %s: %v", f, err)
	}
	return l
}

// takeOver leases the folder as soon as its former lease lapsed.
func takeOver(t *testing.T, c inbound.Checkpoints, f mail.Folder) inbound.Lease {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*ttl)
	defer cancel()
	tick := time.NewTicker(ttl / 20)
	defer tick.Stop()
	for {
		l, err := c.Lease(ctx, f, long)
		if err == nil {
			return l
		}
		if !errors.Is(err, inbound.ErrLeased) {
			t.Fatalf("take over: %v", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("the lease never lapsed")
		}
	}
}

func save(t *testing.T, l inbound.Lease, c inbound.Cursor) {
	t.Helper()
	if err := l.Save(t.Context(), c); err != nil {
		t.Fatalf("save: %v", err)
	}
}

func release(t *testing.T, l inbound.Lease) {
	t.Helper()
	if err := l.Release(t.Context()); err != nil {
		t.Fatalf("release: %v", err)
	}
}

func mustBeLost(t *testing.T, l inbound.Lease) {
	t.Helper()
	for range 2 { // for ever
		if err := l.Save(t.Context(), inbound.Cursor("from a lost lease")); !errors.Is(err, inbound.ErrLost) {
			t.Errorf("save: %v, want ErrLost", err)
		}
		if err := l.Renew(t.Context()); !errors.Is(err, inbound.ErrLost) {
			t.Errorf("renew: %v, want ErrLost", err)
		}
	}
}

func newFolder(t *testing.T, open func(*testing.T) inbound.Checkpoints) {
	if c := take(t, open(t), inbox, long).Cursor(); c != nil {
		t.Errorf("cursor %q, want nil", c)
	}
}

func cursorKept(t *testing.T, open func(*testing.T) inbound.Checkpoints) {
	store := open(t)
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for _, want := range []inbound.Cursor{[]byte("v1:7:12"), every, bytes.Repeat(every, 1024), []byte("short again")} {
		l := take(t, store, inbox, long)
		save(t, l, want)
		if !bytes.Equal(l.Cursor(), want) {
			t.Errorf("Cursor() of the same lease: %d bytes, want the %d saved", len(l.Cursor()), len(want))
		}
		release(t, l)
		next := take(t, store, inbox, long)
		if !bytes.Equal(next.Cursor(), want) {
			t.Errorf("Cursor() of the next lease: %d bytes, want the %d saved", len(next.Cursor()), len(want))
		}
		release(t, next)
	}
}

func cursorSurvives(t *testing.T, open func(*testing.T) inbound.Checkpoints) {
	l := take(t, open(t), inbox, ttl)
	save(t, l, inbound.Cursor("kept"))
	if c := takeOver(t, open(t), inbox).Cursor(); string(c) != "kept" {
		t.Errorf("cursor %q after a restart", c)
	}
}

func oneLease(t *testing.T, open func(*testing.T) inbound.Checkpoints) {
	store := open(t)
	l := take(t, store, inbox, long)
	for range 3 {
		if _, err := store.Lease(t.Context(), inbox, long); !errors.Is(err, inbound.ErrLeased) {
			t.Errorf("second lease: %v, want ErrLeased", err)
		}
	}
	save(t, l, inbound.Cursor("still the holder"))
}

func foldersApart(t *testing.T, open func(*testing.T) inbound.Checkpoints) {
	store := open(t)
	folders := []mail.Folder{
		{Mailbox: "a", Name: "b/c"}, {Mailbox: "a/b", Name: "c"}, {Mailbox: "a", Name: "b"}, {Mailbox: "b", Name: "a"},
		{Mailbox: "a:b", Name: "c}"}, {Mailbox: "a", Name: "b:c}"}, {Mailbox: "{a", Name: "b\x00c"}, {Mailbox: "{a", Name: "Entwürfe"},
	}
	var leases []inbound.Lease
	for _, f := range folders {
		l := take(t, store, f, long)
		save(t, l, inbound.Cursor(f.String()))
		leases = append(leases, l)
	}
	for i, f := range folders {
		release(t, leases[i])
		if c := take(t, store, f, long).Cursor(); string(c) != f.String() {
			t.Errorf("%q has the cursor %q", f, c)
		}
	}
}

func releaseHandsOver(t *testing.T, open func(*testing.T) inbound.Checkpoints) {
	store := open(t)
	l := take(t, store, inbox, long)
	release(t, l)
	next := take(t, store, inbox, long)
	mustBeLost(t, l)
	release(t, l) // again: no error, and not the next one's lease
	save(t, next, inbound.Cursor("mine"))
}

func lapse(t *testing.T, open func(*testing.T) inbound.Checkpoints) {
	store := open(t)
	l := take(t, store, inbox, ttl)
	save(t, l, inbound.Cursor("first"))
	next := takeOver(t, store, inbox)
	if string(next.Cursor()) != "first" {
		t.Errorf("the next one reads the cursor %q", next.Cursor())
	}
	mustBeLost(t, l)
	release(t, next)
	mustBeLost(t, l) // though nobody has it now
}

func lapseAlone(t *testing.T, open func(*testing.T) inbound.Checkpoints) {
	store := open(t)
	l := take(t, store, inbox, ttl)
	timer := time.NewTimer(2 * ttl)
	defer timer.Stop()
	<-timer.C // nobody may ask for the lease: that alone could end it
	mustBeLost(t, l)
	if c := take(t, store, inbox, long).Cursor(); c != nil {
		t.Errorf("the lost lease wrote the cursor %q", c)
	}
}

func renewKeeps(t *testing.T, open func(*testing.T) inbound.Checkpoints) {
	store := open(t)
	l := take(t, store, inbox, ttl)
	tick := time.NewTicker(ttl / 10)
	defer tick.Stop()
	for i := range 20 { // two lives of it
		<-tick.C
		var err error
		if i%2 == 0 {
			err = l.Renew(t.Context())
		} else {
			err = l.Save(t.Context(), inbound.Cursor("kept alive"))
		}
		if err != nil {
			t.Fatalf("renewal %d: %v", i, err)
		}
		if _, err := store.Lease(t.Context(), inbox, long); !errors.Is(err, inbound.ErrLeased) {
			t.Fatalf("after renewal %d another one asked: %v, want ErrLeased", i, err)
		}
	}
}

func race(t *testing.T, open func(*testing.T) inbound.Checkpoints) {
	store := open(t)
	var winners atomic.Int32
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			switch _, err := store.Lease(t.Context(), inbox, long); {
			case err == nil:
				winners.Add(1)
			case !errors.Is(err, inbound.ErrLeased):
				t.Errorf("lease: %v", err)
			}
		})
	}
	all.Wait()
	if winners.Load() != 1 {
		t.Errorf("%d got the lease", winners.Load())
	}
}

func cancelled(t *testing.T, open func(*testing.T) inbound.Checkpoints) {
	store := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := store.Lease(ctx, inbox, long); err == nil {
		t.Error("a lease was given to a cancelled context")
	}
	take(t, store, inbox, long)
}

func lostCursor(t *testing.T, open func(*testing.T) inbound.Checkpoints) {
	store := open(t)
	l := take(t, store, inbox, ttl)
	next := takeOver(t, store, inbox)
	save(t, next, inbound.Cursor("ahead"))
	mustBeLost(t, l)
	release(t, next)
	if c := take(t, store, inbox, long).Cursor(); string(c) != "ahead" {
		t.Errorf("cursor %q, want that of the holder", c)
	}
}

func lostRelease(t *testing.T, open func(*testing.T) inbound.Checkpoints) {
	store := open(t)
	l := take(t, store, inbox, ttl)
	takeOver(t, store, inbox)
	release(t, l)
	if _, err := store.Lease(t.Context(), inbox, long); !errors.Is(err, inbound.ErrLeased) {
		t.Errorf("lease: %v, want ErrLeased: the new holder still has it", err)
	}
}
