package outboundtest

import (
	"strings"
	"sync"
	"testing"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/outbound"
)

// Ledger tests an implementation. fresh is as for Outbox. The suite waits for windows to pass, a few seconds in all.
func Ledger(t *testing.T, fresh func(t *testing.T) (open func(t *testing.T) outbound.Ledger)) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, func(*testing.T) outbound.Ledger){
		"no more than the limit":              ledgerLimit,
		"each unit counts its own":            ledgerUnits,
		"all limits or none":                  ledgerAllOrNone,
		"room comes back with time":           ledgerWindow,
		"a message above the limit":           ledgerAbove,
		"mailboxes do not share":              ledgerMailboxes,
		"a closed mailbox":                    ledgerClosed,
		"a restart forgets nothing":           ledgerRestart,
		"many side by side book no more":      ledgerRace,
		"without limits everything is booked": ledgerNone,
		"what was not taken is given back":    ledgerUnbook,
		"what counts can be read":             ledgerUsage,
	} {
		t.Run(name, func(t *testing.T) { test(t, fresh(t)) })
	}
}

// hour is a window that does not end within a test.
const hour = time.Hour

func limit(u tokenclient.Unit, most int64, window time.Duration) tokenclient.Limit {
	return tokenclient.Limit{Unit: u, Most: most, Window: window}
}

func book(t *testing.T, l outbound.Ledger, mailbox string, c outbound.Cost, limits ...tokenclient.Limit) outbound.Wait {
	t.Helper()
	w, err := l.Book(t.Context(), mailbox, limits, c)
	if err != nil {
		t.Fatalf("book: %v", err)
	}
	return w
}

func mustBook(t *testing.T, l outbound.Ledger, mailbox string, c outbound.Cost, limits ...tokenclient.Limit) {
	t.Helper()
	if w := book(t, l, mailbox, c, limits...); !w.Until.IsZero() {
		t.Fatalf("there is no room: %+v", w)
	}
}

// mustWait wants a wait until about a window from now.
func mustWait(t *testing.T, l outbound.Ledger, mailbox string, c outbound.Cost, why string, window time.Duration, limits ...tokenclient.Limit) {
	t.Helper()
	w, now := book(t, l, mailbox, c, limits...), time.Now()
	if !strings.Contains(w.Why, why) || w.Until.Before(now.Add(window-window/10-near)) || w.Until.After(now.Add(window+window/30+near)) {
		t.Fatalf("%+v, want to wait for %q until about %v", w, why, now.Add(window))
	}
}

func ledgerLimit(t *testing.T, open func(*testing.T) outbound.Ledger) {
	l := open(t)
	for range 3 {
		mustBook(t, l, support, outbound.Cost{}, limit(tokenclient.Messages, 3, hour))
	}
	mustWait(t, l, support, outbound.Cost{}, "3 messages in", hour, limit(tokenclient.Messages, 3, hour))
	mustBook(t, l, support, outbound.Cost{}, limit(tokenclient.Messages, 4, hour)) // raised: what was sent still counts
	mustWait(t, l, support, outbound.Cost{}, "4 messages in", hour, limit(tokenclient.Messages, 4, hour))
	mustBook(t, l, support, outbound.Cost{}, limit(tokenclient.Messages, 1, 2*hour)) // a window of its own
}

func ledgerUnits(t *testing.T, open func(*testing.T) outbound.Ledger) {
	l := open(t)
	limits := []tokenclient.Limit{limit(tokenclient.Recipients, 10, hour), limit(tokenclient.Bytes, 1<<40, hour), limit(tokenclient.Messages, 10, hour)}
	mustBook(t, l, support, outbound.Cost{Recipients: 9, Bytes: 1 << 39}, limits...)
	mustWait(t, l, support, outbound.Cost{Recipients: 2}, "10 recipients", hour, limits...)
	mustWait(t, l, support, outbound.Cost{Recipients: 1, Bytes: 1<<39 + 1}, "bytes", hour, limits...)
	mustBook(t, l, support, outbound.Cost{Recipients: 1, Bytes: 1 << 39}, limits...)
}

func ledgerAllOrNone(t *testing.T, open func(*testing.T) outbound.Ledger) {
	l := open(t)
	few, many := limit(tokenclient.Messages, 1, hour), limit(tokenclient.Recipients, 5, hour)
	mustBook(t, l, support, outbound.Cost{Recipients: 1}, few, many)
	for range 9 { // refused by one limit: the other must not have counted it
		mustWait(t, l, support, outbound.Cost{Recipients: 1}, "1 messages", hour, few, many)
	}
	mustBook(t, l, support, outbound.Cost{Recipients: 4}, many)
}

func ledgerWindow(t *testing.T, open func(*testing.T) outbound.Ledger) {
	l := open(t)
	short := limit(tokenclient.Messages, 2, time.Second)
	var booked []time.Time
	for len(booked) < 6 {
		w := book(t, l, support, outbound.Cost{}, short)
		if w.Until.IsZero() {
			booked = append(booked, time.Now())
			continue
		}
		if wait := time.Until(w.Until); wait > 2*time.Second {
			t.Fatalf("asked to wait for %v", wait)
		}
		time.Sleep(max(time.Until(w.Until), time.Millisecond))
	}
	for i := range booked[2:] {
		if booked[i+2].Sub(booked[i]) < time.Second-near {
			t.Errorf("booked at %v and two later at %v", booked[i], booked[i+2])
		}
	}
}

func ledgerAbove(t *testing.T, open func(*testing.T) outbound.Ledger) {
	l := open(t)
	ten := limit(tokenclient.Recipients, 10, hour)
	mustBook(t, l, support, outbound.Cost{Recipients: 50}, ten)
	mustWait(t, l, support, outbound.Cost{Recipients: 1}, "10 recipients", hour, ten)
}

func ledgerMailboxes(t *testing.T, open func(*testing.T) outbound.Ledger) {
	l := open(t)
	one := limit(tokenclient.Messages, 1, hour)
	mustBook(t, l, support, outbound.Cost{}, one)
	mustBook(t, l, sales, outbound.Cost{}, one)
	mustWait(t, l, sales, outbound.Cost{}, "1 messages", hour, one)
}

func ledgerClosed(t *testing.T, open func(*testing.T) outbound.Ledger) {
	l := open(t)
	many := limit(tokenclient.Messages, 1000, hour)
	closeBox := func(d time.Duration, why string) {
		t.Helper()
		if err := l.Close(t.Context(), support, time.Now().Add(d), why); err != nil {
			t.Fatal(err)
		}
	}
	closeBox(time.Hour, "429 the server's own words")
	closeBox(time.Minute, "an earlier end changes nothing")
	mustWait(t, l, support, outbound.Cost{}, "429 the server's own words", time.Hour, many)
	mustBook(t, l, sales, outbound.Cost{}, many)
	closeBox(2*time.Hour, "a later one does")
	mustWait(t, open(t), support, outbound.Cost{}, "a later one does", 2*time.Hour, many)
}

func ledgerRestart(t *testing.T, open func(*testing.T) outbound.Ledger) {
	day := limit(tokenclient.Recipients, 10_000, 24*hour)
	mustBook(t, open(t), support, outbound.Cost{Recipients: 9_999}, day)
	mustWait(t, open(t), support, outbound.Cost{Recipients: 2}, "10000 recipients in 24 hours", 24*hour, day)
}

func ledgerRace(t *testing.T, open func(*testing.T) outbound.Ledger) {
	l := open(t)
	var mu sync.Mutex
	var booked int
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for range 10 {
				w, err := l.Book(t.Context(), support, []tokenclient.Limit{limit(tokenclient.Messages, 30, hour)}, outbound.Cost{Recipients: 1})
				mu.Lock()
				if err == nil && w.Until.IsZero() {
					booked++
				}
				mu.Unlock()
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
	if booked != 30 {
		t.Errorf("%d of 80 were booked, want 30", booked)
	}
}

func ledgerNone(t *testing.T, open func(*testing.T) outbound.Ledger) {
	l := open(t)
	for range 20 {
		mustBook(t, l, support, outbound.Cost{Recipients: 1000, Bytes: 1 << 40})
	}
}

// ledgerUnbook: it makes room, leaves what others booked, and lends nothing beyond what was booked.
func ledgerUnbook(t *testing.T, open func(*testing.T) outbound.Ledger) {
	l := open(t)
	limits := []tokenclient.Limit{limit(tokenclient.Recipients, 10, hour), limit(tokenclient.Messages, 2, hour)}
	ten := outbound.Cost{Recipients: 10, Bytes: 1}
	w := book(t, l, support, ten, limits...)
	mustBook(t, l, sales, ten, limits...)
	mustWait(t, l, support, outbound.Cost{Recipients: 4}, "10 recipients", hour, limits...)
	unbook := func(c outbound.Cost, limits ...tokenclient.Limit) {
		t.Helper()
		if err := l.Unbook(t.Context(), support, limits, c, w.Booked); err != nil {
			t.Fatal(err)
		}
	}
	unbook(outbound.Cost{Recipients: 4}, limits[0]) // the refused of a message that others got
	mustBook(t, l, support, outbound.Cost{Recipients: 4}, limits...)
	mustWait(t, l, support, outbound.Cost{Recipients: 1}, "10 recipients", hour, limits[0])
	mustWait(t, l, support, outbound.Cost{}, "2 messages", hour, limits[1])
	unbook(outbound.Cost{Recipients: 6, Bytes: 1}, limits...)
	mustBook(t, l, support, outbound.Cost{Recipients: 6}, limits...)
	mustWait(t, l, support, outbound.Cost{}, "2 messages", hour, limits[1])
	mustWait(t, l, sales, outbound.Cost{Recipients: 1}, "10 recipients", hour, limits...)
	if err := l.Unbook(t.Context(), support, limits, ten, w.Booked.Add(-2*hour)); err != nil { // it counts no more
		t.Fatal(err)
	}
	mustWait(t, l, support, outbound.Cost{Recipients: 1}, "10 recipients", hour, limits[0])
}

func ledgerUsage(t *testing.T, open func(*testing.T) outbound.Ledger) {
	l := open(t)
	limits := []tokenclient.Limit{limit(tokenclient.Messages, 10, hour), limit(tokenclient.Recipients, 100, 24*hour), limit(tokenclient.Bytes, 1<<40, hour)}
	if u := usage(t, l, limits...); sum(u.Sent[0])+sum(u.Sent[1])+sum(u.Sent[2]) != 0 || time.Until(u.Now).Abs() > time.Minute || !u.Closed.Until.IsZero() {
		t.Errorf("before anything was sent: %+v", u)
	}
	for range 2 {
		mustBook(t, l, support, outbound.Cost{Recipients: 5, Bytes: 1 << 33}, limits...)
	}
	mustBook(t, l, sales, outbound.Cost{Recipients: 5, Bytes: 1}, limits...)
	until := time.Now().Add(hour)
	if err := l.Close(t.Context(), support, until, "429 slow down"); err != nil {
		t.Fatal(err)
	}
	u := usage(t, l, limits...)
	if sum(u.Sent[0]) != 2 || sum(u.Sent[1]) != 10 || sum(u.Sent[2]) != 1<<34 {
		t.Errorf("sent %v", u.Sent)
	}
	if u.Closed.Why != "429 slow down" || u.Closed.Until.Sub(until).Abs() > near {
		t.Errorf("closed %+v", u.Closed)
	}
	if at := outbound.Room(limits[0], u.Sent[0], 9, u.Now); at.Sub(u.Now) < hour || at.Sub(u.Now) > hour+hour/30 {
		t.Errorf("room for nine more after %v", at.Sub(u.Now))
	}
}

func usage(t *testing.T, l outbound.Ledger, limits ...tokenclient.Limit) outbound.Usage {
	t.Helper()
	u, err := l.Usage(t.Context(), support, limits)
	if err != nil || len(u.Sent) != len(limits) {
		t.Fatalf("%+v, %v", u, err)
	}
	return u
}

func sum(parts map[int64]int64) (total int64) {
	for _, n := range parts {
		total += n
	}
	return total
}
