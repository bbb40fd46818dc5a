package allowance

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestTurnsSpreadMessagesOverMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(2, 0)
		for i, want := range []time.Duration{0, 0, time.Minute, time.Minute, 2 * time.Minute} {
			if got := s.Turn("a"); got != want {
				t.Errorf("message %d waits %s, want %s", i, got, want)
			}
		}
		if got := s.Turn("b"); got != 0 {
			t.Errorf("another mailbox waits %s", got)
		}
		time.Sleep(3 * time.Minute)
		if got := s.Turn("a"); got != 0 {
			t.Errorf("after three quiet minutes: %s", got)
		}
	})
}

func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := NewWindow(10, time.Hour)
		take := func(n int64, want time.Duration) {
			t.Helper()
			if got := w.Take("a", n); got != want {
				t.Errorf("%d have to wait for %s, want %s", n, got, want)
			}
		}
		take(6, 0)
		time.Sleep(10 * time.Minute)
		take(4, 0)
		take(1, 50*time.Minute)
		take(9, time.Hour)
		if got := w.Take("b", 10); got != 0 {
			t.Errorf("another one waits %s", got)
		}
		time.Sleep(50 * time.Minute)
		take(6, 0)
		take(1, 10*time.Minute)
		time.Sleep(2 * time.Hour)
		take(11, 0) // more than anybody may, with nothing beside it
		take(1, time.Hour)
	})
}

func TestRecipientsOfADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(0, 3)
		if !s.Recipients("a", 2) || s.Recipients("a", 2) || !s.Recipients("a", 1) || s.Recipients("a", 1) {
			t.Error("three recipients a day are not three")
		}
		time.Sleep(24 * time.Hour)
		if !s.Recipients("a", 3) {
			t.Error("another day, and still no room")
		}
	})
}

func TestNothingIsBounded(t *testing.T) {
	var none *Sending
	for _, s := range []*Sending{none, New(0, 0)} {
		for range 100 {
			if s.Turn("a") != 0 || !s.Recipients("a", 1_000_000) {
				t.Fatal("what has no bounds was refused")
			}
		}
	}
	if (*Window)(nil).Take("a", 1) != 0 {
		t.Error("no window refused")
	}
}
