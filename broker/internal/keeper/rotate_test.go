package keeper_test

import (
	"testing"
	"time"

	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
	"mailporter/kit/secret"
)

// inRotation is a house whose provider rotates refresh tokens.
func inRotation(t *testing.T, f func(*testing.T, *house)) {
	inHouse(t, func(t *testing.T, h *house) {
		h.rotates = true
		f(t, h)
	})
}

func (h *house) record(id string) keeper.Record {
	h.t.Helper()
	r, err := h.store.Broker().Load(h.t.Context(), id)
	if err != nil {
		h.t.Fatal(err)
	}
	return r
}

func (h *house) stored(refresh, previous string) {
	h.t.Helper()
	if r := h.record("user"); r.Refresh.Reveal() != refresh || r.Previous.Reveal() != previous {
		h.t.Fatalf("stored %q and %q, want %q and %q", r.Refresh.Reveal(), r.Previous.Reveal(), refresh, previous)
	}
}

func TestRotationIsSavedAndThePreviousKept(t *testing.T) {
	inRotation(t, func(t *testing.T, h *house) {
		k := h.broker()
		h.must(k, wish(delegated()))
		h.stored("refresh-1", "configured")
		time.Sleep(2 * time.Hour)
		h.must(k, wish(delegated()))
		h.stored("refresh-2", "refresh-1")
		if h.last().refresh != "refresh-1" {
			t.Errorf("used %s", h.last().refresh)
		}
	})
}

func TestWithoutRotationTheOldTokenStays(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		k := h.broker()
		for range 3 {
			h.must(k, wish(delegated()))
			h.stored("configured", "")
			time.Sleep(2 * time.Hour)
		}
	})
}

func TestKilledBetweenMintAndSave(t *testing.T) {
	inRotation(t, func(t *testing.T, h *house) {
		h.store.FailSaves(100) // nothing of this broker reaches the store any more
		h.fault(h.broker(), wish(delegated()), remedy.StoreUnavailable)
		h.store.FailSaves(0)
		time.Sleep(time.Minute) // its lease lapses
		h.must(h.broker(), wish(delegated()))
		if h.last().refresh != "configured" {
			t.Errorf("used %s", h.last().refresh)
		}
		h.stored("refresh-2", "configured")
	})
}

func TestKilledBetweenSaveAndHandOut(t *testing.T) {
	inRotation(t, func(t *testing.T, h *house) {
		h.store.CacheDown(true) // the token gets nowhere but to the first broker
		h.must(h.broker(), wish(delegated()))
		h.stored("refresh-1", "configured")
		h.must(h.broker(), wish(delegated()))
		h.stored("refresh-2", "refresh-1")
	})
}

func TestATokenIsNotHandedOutBeforeTheRotationIsSaved(t *testing.T) {
	inRotation(t, func(t *testing.T, h *house) {
		k := h.broker()
		h.store.FailSaves(100)
		h.fault(k, wish(delegated()), remedy.StoreUnavailable)
		h.store.FailSaves(0)
		time.Sleep(time.Minute)
		h.must(k, wish(delegated()))
		if h.last().refresh != "refresh-1" {
			t.Errorf("used %s: the newest refresh token, which this broker alone knows, was forgotten", h.last().refresh)
		}
		h.stored("refresh-2", "refresh-1")
	})
}

func TestASaveThatFailsOnceIsRepeated(t *testing.T) {
	inRotation(t, func(t *testing.T, h *house) {
		h.store.FailSaves(2)
		h.must(h.broker(), wish(delegated()))
		h.stored("refresh-1", "configured")
	})
}

func TestThePreviousIsTriedWhenTheNewestFails(t *testing.T) {
	inRotation(t, func(t *testing.T, h *house) {
		k := h.broker()
		h.must(k, wish(delegated()))
		h.answer = func(_ int, _ token.Credential, refresh string) error {
			if refresh == "refresh-1" {
				return revoked() // it was lost on the way: the provider never knew it
			}
			return nil
		}
		time.Sleep(2 * time.Hour)
		h.must(k, wish(delegated()))
		h.want(3)
		h.stored("refresh-3", "configured")
	})
}

func TestARevokedConsentFreezes(t *testing.T) {
	inRotation(t, func(t *testing.T, h *house) {
		k := h.broker()
		h.answer = func(int, token.Credential, string) error { return revoked() }
		for range 60 {
			h.fault(k, wish(delegated()), remedy.ReauthorizationRequired)
			time.Sleep(time.Minute)
		}
		h.want(1)
	})
}

func TestTheRefusalOfAnOvertakenTokenIsNotFinal(t *testing.T) {
	inRotation(t, func(t *testing.T, h *house) {
		h.answer = func(n int, _ token.Credential, refresh string) error {
			if n == 1 { // meanwhile another broker used it up and has the next
				h.store.Overtake("user", keeper.Record{Version: "v1", Refresh: secret.New("theirs")})
			}
			if refresh != "theirs" {
				return revoked()
			}
			return nil
		}
		k := h.broker()
		h.fault(k, wish(delegated()), remedy.StoreUnavailable) // our lease is lost: what came cannot be saved
		if h.last().refresh != "theirs" {
			t.Errorf("used %s, but not what is stored", h.last().refresh)
		}
		h.must(k, wish(delegated()))
		if h.record("user").Frozen != nil {
			t.Error("frozen for a token that was not the stored one")
		}
	})
}

func TestANewConfiguredTokenComesFirst(t *testing.T) {
	inRotation(t, func(t *testing.T, h *house) {
		k := h.broker()
		h.must(k, wish(delegated()))
		c := delegated()
		c.Version, c.Refresh = "v2", secret.New("enrolled again")
		h.must(k, wish(c))
		if h.last().refresh != "enrolled again" {
			t.Errorf("used %s", h.last().refresh)
		}
	})
}

func TestAChangedClientSecretKeepsTheRotatedToken(t *testing.T) {
	inRotation(t, func(t *testing.T, h *house) {
		k := h.broker()
		h.must(k, wish(delegated()))
		h.answer = func(_ int, _ token.Credential, refresh string) error {
			if refresh == "configured" {
				return revoked() // too old by now
			}
			return nil
		}
		c := delegated()
		c.Version, c.Secrets = "v2", []secret.String{secret.New("new")}
		h.must(k, wish(c))
		if h.last().refresh != "refresh-1" {
			t.Errorf("used %s", h.last().refresh)
		}
	})
}

func TestRotatingGrantsPauseWithoutTheStore(t *testing.T) {
	inRotation(t, func(t *testing.T, h *house) {
		k := h.broker()
		h.store.StoreDown(true)
		for range 5 {
			if f := h.fault(k, wish(delegated()), remedy.StoreUnavailable); f.Class != remedy.Transient {
				t.Fatalf("class %s", f.Class)
			}
			time.Sleep(time.Second)
		}
		h.want(0)
		h.store.StoreDown(false)
		h.must(k, wish(delegated()))
	})
}

// What does not open is neither used nor overwritten: the status says so, and a reset begins anew.
func TestARecordThatDoesNotOpen(t *testing.T) {
	inRotation(t, func(t *testing.T, h *house) {
		h.must(h.broker(), wish(delegated()))
		h.store.CacheDown(true)
		h.store.TamperRecord("user")
		k := h.broker()
		h.fault(k, wish(delegated()), remedy.StoredUnreadable)
		h.want(1)
		w := wish(delegated())
		st := k.Status(t.Context(), w.Credential, w.Audience)
		if st.State != keeper.Frozen || st.Fault == nil || st.Fault.Reason != remedy.StoredUnreadable {
			t.Errorf("status %s, %v", st.State, st.Fault)
		}
		if err := k.Reset(t.Context(), w.Credential); err != nil {
			t.Fatal(err)
		}
		h.must(k, w)
		h.stored("refresh-2", "configured")
	})
}
