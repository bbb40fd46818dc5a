package keeper_test

import (
	"testing"
	"time"

	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
	"mailporter/kit/secret"
)

// TestAConfiguredRefreshTokenSurvivesABadStart: the user signed in again, and the first request with the new refresh token
// meets a disturbance of the provider.
func TestAConfiguredRefreshTokenSurvivesABadStart(t *testing.T) {
	inRotation(t, func(t *testing.T, h *house) {
		k := h.broker()
		h.must(k, wish(delegated()))
		again := delegated()
		again.Version, again.Refresh = "v2", secret.New("configured-2")
		disturbed := true
		h.answer = func(_ int, _ token.Credential, refresh string) error {
			if disturbed {
				return down()
			}
			if refresh != "configured-2" {
				return revoked()
			}
			return nil
		}
		if _, err := k.Ask(t.Context(), wish(again)); err == nil {
			t.Fatal("the provider was down")
		}
		disturbed = false
		time.Sleep(10 * time.Minute)
		h.must(k, wish(again))
	})
}

// TestAPauseOutlivesTheStoresTrouble: what the provider asked for while the store was away is kept after it, by the fleet.
func TestAPauseOutlivesTheStoresTrouble(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		one, other := h.broker(), h.broker()
		h.store.StoreDown(true)
		h.answer = func(int, token.Credential, string) error { return pause(10 * time.Minute) }
		if _, err := one.Ask(t.Context(), wish(appOnly())); err == nil {
			t.Fatal("the provider wanted a pause")
		}
		h.store.StoreDown(false)
		time.Sleep(time.Minute)
		if _, err := one.Ask(t.Context(), wish(appOnly())); err == nil {
			t.Fatal("a token in the pause")
		}
		if _, err := other.Ask(t.Context(), wish(appOnly())); err == nil {
			t.Fatal("a token in the pause")
		}
		h.want(1)
	})
}

func pause(after time.Duration) error {
	return &remedy.Fault{Class: remedy.Throttled, Reason: remedy.Throttling, After: after, Remedy: "Nobody must act."}
}
