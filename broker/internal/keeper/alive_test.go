package keeper_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/token"
	"mailporter/kit/secret"
)

// idlers are refresh tokens that nobody asks for.
func idlers(n int) (all []keeper.Wish) {
	for i := range n {
		c := delegated()
		c.ID, c.User, c.Refresh = fmt.Sprintf("idle-%d", i), fmt.Sprintf("u%d@contoso.example", i), secret.New(fmt.Sprintf("configured-%d", i))
		all = append(all, wish(c))
	}
	return all
}

// TestIdleRefreshTokensAreUsed: once a day each, by one broker of the fleet, not all at a time; the newest one is used.
func TestIdleRefreshTokensAreUsed(t *testing.T) {
	inRotation(t, func(t *testing.T, h *house) {
		const n, day = 50, 24 * time.Hour
		all := append(idlers(n), wish(appOnly())) // what holds no refresh token is left alone
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for range 3 {
			k := h.broker()
			go k.KeepAlive(ctx, day, func() []keeper.Wish { return all })
		}
		time.Sleep(day / 2)
		if got := h.requests(); got < n/4 || got > n*3/4 {
			t.Errorf("%d of %d after half a day", got, n)
		}
		time.Sleep(day/2 + time.Hour)
		if got := h.requests(); got < n || got > n+n/10 {
			t.Errorf("%d of %d after a day", got, n)
		}
		time.Sleep(6 * day)
		synctest.Wait()
		if got := h.requests(); got < 7*n || got > 9*n {
			t.Errorf("%d requests for %d refresh tokens in a week", got, n)
		}
		used := map[string]int{}
		for _, c := range h.provider.calls {
			used[c.refresh]++
			if used[c.refresh] > 1 {
				t.Fatalf("%s was used twice: another one had come for it", c.refresh)
			}
		}
		if h.crowdMost() > 3 {
			t.Errorf("%d requests at a time", h.crowdMost())
		}
	})
}

// TestUsedRefreshTokensAreLeftAlone: who asks keeps it alive, and what is frozen is not tried.
func TestUsedRefreshTokensAreLeftAlone(t *testing.T) {
	inRotation(t, func(t *testing.T, h *house) {
		k := h.broker()
		w := wish(delegated())
		frozen := idlers(1)[0]
		h.answer = func(_ int, c token.Credential, _ string) error {
			if c.ID == frozen.Credential.ID {
				return revoked()
			}
			return nil
		}
		if _, err := k.Ask(t.Context(), frozen); err == nil {
			t.Fatal("a revoked refresh token brought a token")
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go k.KeepAlive(ctx, 24*time.Hour, func() []keeper.Wish { return []keeper.Wish{w, frozen} })
		before := h.requests()
		for range 7 * 24 {
			h.must(k, w)
			time.Sleep(time.Hour)
		}
		synctest.Wait()
		if got := h.requests() - before; got > 7*24+1 {
			t.Errorf("%d requests in 168 hours", got)
		}
	})
}

// TestStoreAwayKeepsNobodyAlive: a token that comes with another one could not be saved.
func TestStoreAwayKeepsNobodyAlive(t *testing.T) {
	inRotation(t, func(t *testing.T, h *house) {
		k := h.broker()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		h.store.StoreDown(true)
		go k.KeepAlive(ctx, time.Hour, func() []keeper.Wish { return idlers(3) })
		time.Sleep(5 * time.Hour)
		synctest.Wait()
		h.want(0)
	})
}
