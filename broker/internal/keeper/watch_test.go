package keeper_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
)

// watched is a Watch and how often it was told about a change.
type watched struct {
	*keeper.Watch
	told atomic.Int64
}

func (h *house) watch(k *keeper.Keeper, w keeper.Wish) *watched {
	out := &watched{}
	out.Watch = k.Watch(w, func() { out.told.Add(1) })
	h.t.Cleanup(out.Stop)
	return out
}

// shows holds what the Watch answers: the generation is returned.
func (w *watched) shows(t *testing.T, margin time.Duration) keeper.Handout {
	t.Helper()
	out, err := w.Now()
	if err != nil {
		t.Fatal(err)
	}
	if left := time.Until(out.Token.Expires); left <= margin {
		t.Fatalf("shown with %v left, margin %v", left, margin)
	}
	return out
}

func TestWatchMintsAndRenewsAhead(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		k := h.broker()
		w := h.watch(k, wish(appOnly()))
		if _, err := w.Now(); !errors.Is(err, keeper.ErrPending) {
			t.Fatalf("before the provider answered: %v", err)
		}
		time.Sleep(time.Second)
		last := w.shows(t, margin)
		// Nobody asks for two days: the token is never closer to its end than the reserve, less the provider's answer.
		for range 2 * 24 * 60 {
			time.Sleep(time.Minute)
			now := w.shows(t, 10*time.Minute)
			if now.Token.Generation < last.Token.Generation {
				t.Fatal("an older token came back")
			}
			last = now
		}
		if n := h.requests(); n < 48 || n > 48*5/3 {
			t.Errorf("%d requests in 48 hours of tokens that live for one", n)
		}
		if told, minted := w.told.Load(), int64(h.requests()); told != minted {
			t.Errorf("told %d times about %d tokens", told, minted)
		}
	})
}

func TestWatchesShareTheirWork(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		k := h.broker()
		all := make([]*watched, 1000)
		for i := range all {
			all[i] = h.watch(k, wish(appOnly()))
		}
		time.Sleep(time.Minute)
		for _, w := range all {
			w.shows(t, margin)
			if n := w.told.Load(); n != 1 {
				t.Fatalf("told %d times", n)
			}
		}
		h.want(1)
	})
}

func TestWatchEndsWithTheLast(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		k := h.broker()
		a, b := h.watch(k, wish(appOnly())), h.watch(k, wish(appOnly()))
		time.Sleep(time.Minute)
		a.Stop()
		time.Sleep(time.Hour)
		b.shows(t, margin)
		h.want(2)
		b.Stop()
		told := b.told.Load()
		time.Sleep(24 * time.Hour)
		h.want(2)
		if b.told.Load() != told {
			t.Error("told after Stop")
		}
		again := h.watch(k, wish(appOnly()))
		if _, err := again.Now(); !errors.Is(err, keeper.ErrPending) {
			t.Fatalf("old news: %v", err)
		}
		time.Sleep(time.Second)
		again.shows(t, margin)
	})
}

// A failure is told once, and the token as soon as the provider gives one again.
func TestWatchThroughAnOutage(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		var down atomic.Bool
		h.answer = func(int, token.Credential, string) error {
			if down.Load() {
				return &remedy.Fault{Class: remedy.Transient, Reason: remedy.Unavailable, Remedy: "Wait."}
			}
			return nil
		}
		k := h.broker()
		w := h.watch(k, wish(appOnly()))
		time.Sleep(time.Second)
		first := w.shows(t, margin)
		down.Store(true)
		time.Sleep(58 * time.Minute)
		if warned := w.shows(t, margin); warned.Warning == nil || warned.Token.Generation != first.Token.Generation {
			t.Errorf("the old token serves, with a warning: %v", warned.Warning)
		}
		time.Sleep(2 * time.Minute)
		if _, err := w.Now(); asFault(err) == nil || asFault(err).Reason != remedy.Unavailable {
			t.Fatalf("inside the margin: %v", err)
		}
		time.Sleep(3 * time.Hour)
		if n := w.told.Load(); n != 3 { // token, warning, failure
			t.Errorf("told %d times", n)
		}
		if n := h.requests(); n > 120 {
			t.Errorf("%d requests in three hours of outage", n)
		}
		down.Store(false)
		time.Sleep(10 * time.Minute)
		if again := w.shows(t, margin); again.Warning != nil || again.Token.Generation <= first.Token.Generation {
			t.Errorf("after the outage: %v", again.Warning)
		}
	})
}

func asFault(err error) *remedy.Fault {
	var f *remedy.Fault
	errors.As(err, &f)
	return f
}

func TestWatchFrozenUntilReset(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.answer = func(n int, _ token.Credential, _ string) error {
			if n == 1 {
				return refuse(remedy.ClientSecretInvalid)
			}
			return nil
		}
		k := h.broker()
		w := h.watch(k, wish(appOnly()))
		time.Sleep(24 * time.Hour)
		if f := asFault(second(w.Now())); f == nil || f.Reason != remedy.ClientSecretInvalid {
			t.Fatal("not frozen")
		}
		h.want(1)
		if err := k.Reset(t.Context(), appOnly()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		w.shows(t, margin)
	})
}

func second[T any](_ T, err error) error { return err }

// What another broker does is seen: its tokens and the end of its freezes.
func TestWatchSeesOtherBrokers(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		a, b := h.broker(), h.broker()
		w := h.watch(b, wish(appOnly()))
		time.Sleep(time.Second)
		first := w.shows(t, margin)
		time.Sleep(time.Minute)
		newer := wish(appOnly())
		newer.NewerThan = first.Token.Generation
		fresh := h.must(a, newer)
		time.Sleep(time.Second)
		if got := w.shows(t, margin); got.Token.Generation != fresh.Token.Generation {
			t.Errorf("generation %d, the fleet has %d", got.Token.Generation, fresh.Token.Generation)
		}
		h.want(2)
	})
}

func TestWatchReplacesRefusedTokens(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		k := h.broker()
		w := h.watch(k, wish(appOnly()))
		time.Sleep(time.Second)
		first := w.shows(t, margin)
		time.Sleep(time.Second)
		if r := k.Reject(t.Context(), appOnly(), scope, first.Token.Value.Fingerprint()); r.Outcome != keeper.Replacing {
			t.Fatal(r.Outcome)
		}
		time.Sleep(time.Second)
		if got := w.shows(t, margin); got.Token.Generation <= first.Token.Generation || w.told.Load() != 2 {
			t.Errorf("generation %d after %d, told %d times", got.Token.Generation, first.Token.Generation, w.told.Load())
		}
	})
}

// A margin that no token satisfies is a failure and not a loop; a smaller one beside it is served.
func TestWatchMarginTooLarge(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.life = 10 * time.Minute
		k := h.broker()
		large := wish(appOnly())
		large.Margin = 50 * time.Minute
		w, small := h.watch(k, large), h.watch(k, wish(appOnly()))
		time.Sleep(time.Hour)
		if f := asFault(second(w.Now())); f == nil || f.Reason != remedy.LifetimeBelowMargin {
			t.Fatalf("%v", second(w.Now()))
		}
		small.shows(t, margin)
		if n := h.requests(); n > 30 {
			t.Errorf("%d requests in an hour", n)
		}
	})
}

func TestWatchAfterClose(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		k := h.broker()
		w := h.watch(k, wish(appOnly()))
		k.Close()
		synctest.Wait()
		time.Sleep(time.Hour)
		if n := h.requests(); n > 1 {
			t.Errorf("%d requests of a closed keeper", n)
		}
		w.Stop()
	})
}
