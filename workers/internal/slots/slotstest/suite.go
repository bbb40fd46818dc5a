// Package slotstest is the suite of slots.Slots.
package slotstest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mailporter/workers/internal/slots"
)

const mailbox = "graph support@contoso.example"

// patience is how long a test waits for what must happen.
const patience = time.Minute

// Slots tests an implementation. open gives those that share a bound, another worker's each time if there may be several.
func Slots(t *testing.T, open func(t *testing.T) slots.Slots) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, func(*testing.T) slots.Slots){
		"no more than there are": bounded,
		"a name has its own":     apart,
		"release gives one back": released,
		"who gives up goes":      givenUp,
		"an ended context":       ended,
		"never less than one":    atLeastOne,
	} {
		t.Run(name, func(t *testing.T) { test(t, open) })
	}
}

func take(t *testing.T, s slots.Slots, name string, most int) (release func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	release, err := s.Take(ctx, name, most)
	if err != nil {
		t.Fatalf("take: %v", err)
	}
	t.Cleanup(release)
	return release
}

// mustWait wants none to be free.
func mustWait(t *testing.T, s slots.Slots, name string, most int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if release, err := s.Take(ctx, name, most); err == nil {
		release()
		t.Fatal("it was not to be had")
	}
}

// bounded: of many workers with many goroutines each, no more run at a time than may, and all of them have their turn.
func bounded(t *testing.T, open func(*testing.T) slots.Slots) {
	const workers, each, turns, most = 3, 5, 8, 4
	var running, peak, done atomic.Int32
	var all sync.WaitGroup
	for range workers {
		s := open(t)
		for range each {
			all.Go(func() {
				for range turns {
					release, err := s.Take(t.Context(), mailbox, most)
					if err != nil {
						t.Errorf("take: %v", err)
						return
					}
					n := running.Add(1)
					for p := peak.Load(); n > p && !peak.CompareAndSwap(p, n); p = peak.Load() {
					}
					time.Sleep(time.Millisecond) // a request
					running.Add(-1)
					done.Add(1)
					release()
				}
			})
		}
	}
	all.Wait()
	if peak.Load() > most || done.Load() != workers*each*turns {
		t.Errorf("%d at a time, %d turns", peak.Load(), done.Load())
	}
}

func apart(t *testing.T, open func(*testing.T) slots.Slots) {
	s := open(t)
	take(t, s, mailbox, 1)
	take(t, s, "graph sales@contoso.example", 1)
	mustWait(t, open(t), mailbox, 1)
}

func released(t *testing.T, open func(*testing.T) slots.Slots) {
	s, other := open(t), open(t)
	first := take(t, s, mailbox, 2)
	take(t, other, mailbox, 2)
	mustWait(t, s, mailbox, 2)
	first()
	first() // once is enough
	take(t, other, mailbox, 2)
	mustWait(t, s, mailbox, 2)
}

func givenUp(t *testing.T, open func(*testing.T) slots.Slots) {
	s := open(t)
	release := take(t, s, mailbox, 1)
	for range 3 {
		mustWait(t, s, mailbox, 1)
	}
	release()
	take(t, s, mailbox, 1)() // nobody stands before it
	take(t, open(t), mailbox, 1)
}

func ended(t *testing.T, open func(*testing.T) slots.Slots) {
	s := open(t)
	release := take(t, s, mailbox, 1)
	gone := errors.New("no longer wanted")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(gone)
	if _, err := s.Take(ctx, mailbox, 1); !errors.Is(err, gone) {
		t.Errorf("%v", err)
	}
	release()
}

func atLeastOne(t *testing.T, open func(*testing.T) slots.Slots) {
	s := open(t)
	take(t, s, mailbox, 0)
	mustWait(t, s, mailbox, 0)
}
