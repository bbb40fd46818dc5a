package keeper_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
	"mailporter/kit/secret"
)

func TestAFreezeIsOneRequestForTheFleet(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.answer = func(int, token.Credential, string) error { return refuse("TENANT_NOT_FOUND") }
		a, b := h.broker(), h.broker()
		for range 120 {
			h.fault(a, wish(appOnly()), "TENANT_NOT_FOUND")
			h.fault(b, wish(appOnly()), "TENANT_NOT_FOUND")
			time.Sleep(time.Minute)
		}
		h.fault(h.broker(), wish(appOnly()), "TENANT_NOT_FOUND") // after a restart
		h.want(1)
	})
}

func TestAFrozenCredentialsTokensGoOnServing(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		other := wish(appOnly())
		other.Audience = "https://graph.microsoft.com/.default"
		h.must(h.broker(), wish(appOnly()))
		h.answer = func(int, token.Credential, string) error { return refuse("APPLICATION_DISABLED") }
		k := h.broker() // after a restart
		h.fault(k, other, "APPLICATION_DISABLED")
		if out := h.must(k, wish(appOnly())); out.Warning == nil || out.Source != keeper.FromCache {
			t.Errorf("from %s, warning %v", out.Source, out.Warning)
		}
	})
}

func TestAChangedSecretThawsAtOnce(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.answer = func(_ int, c token.Credential, _ string) error {
			if reveal(c.Secrets) == "s1" {
				return refuse(remedy.ClientSecretInvalid)
			}
			return nil
		}
		k := h.broker()
		h.fault(k, wish(appOnly()), remedy.ClientSecretInvalid)
		fixed := appOnly()
		fixed.Version, fixed.Secrets = "v2", []secret.String{secret.New("s2")}
		h.must(k, wish(fixed))
		h.want(2)
	})
}

func TestResetThaws(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.answer = func(n int, _ token.Credential, _ string) error {
			if n == 1 {
				return refuse("ACCOUNT_LOCKED")
			}
			return nil
		}
		a, b := h.broker(), h.broker()
		h.fault(a, wish(appOnly()), "ACCOUNT_LOCKED")
		h.fault(b, wish(appOnly()), "ACCOUNT_LOCKED")
		if err := a.Reset(t.Context(), appOnly()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		h.must(b, wish(appOnly())) // it heard of the reset
		h.must(a, wish(appOnly()))
		h.want(2)
	})
}

func TestTransientFailuresBackOff(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.latency = 0
		h.answer = func(int, token.Credential, string) error { return down() }
		k := h.broker()
		for range 36_000 {
			if f := h.fault(k, wish(appOnly()), remedy.Unavailable); f.After < 0 || f.After > 5*time.Minute {
				t.Fatalf("retry after %s", f.After)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if n := h.requests(); n < 12 || n > 60 {
			t.Errorf("%d requests in an hour", n)
		}
		for i := 1; i < len(h.calls); i++ {
			if gap := h.calls[i].at.Sub(h.calls[i-1].at); gap < time.Second {
				t.Errorf("%s between two requests", gap)
			}
		}
		h.answer = nil
		time.Sleep(5 * time.Minute)
		h.must(k, wish(appOnly()))
	})
}

func TestThrottlingHoldsForTheFleet(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.answer = func(n int, _ token.Credential, _ string) error {
			if n == 1 {
				return &remedy.Fault{Class: remedy.Throttled, Reason: remedy.Throttling, Remedy: "Nobody must act.", After: 10 * time.Minute}
			}
			return nil
		}
		a, b := h.broker(), h.broker()
		for range 9 {
			h.fault(a, wish(appOnly()), remedy.Throttling)
			h.fault(b, wish(appOnly()), remedy.Throttling)
			time.Sleep(time.Minute)
		}
		h.want(1)
		time.Sleep(90 * time.Second)
		h.must(b, wish(appOnly()))
		h.want(2)
	})
}

func TestTheOldTokenIsServedWithAWarning(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		k := h.broker()
		h.must(k, wish(appOnly()))
		h.answer = func(int, token.Credential, string) error { return down() }
		time.Sleep(55 * time.Minute)
		h.must(k, wish(appOnly()))
		synctest.Wait()
		time.Sleep(time.Second)
		out := h.must(k, wish(appOnly()))
		if out.Warning == nil || out.Warning.Reason != remedy.Unavailable {
			t.Errorf("warning %v", out.Warning)
		}
		if st := k.Status(t.Context(), appOnly(), scope); st.State != keeper.Degraded || st.Failures == 0 || st.Since.IsZero() {
			t.Errorf("%+v", st)
		}
		h.answer = nil
		time.Sleep(30 * time.Second)
		h.must(k, wish(appOnly()))
		synctest.Wait()
		time.Sleep(time.Second)
		if out := h.must(k, wish(appOnly())); out.Warning != nil {
			t.Errorf("still warning %v", out.Warning)
		}
	})
}

func TestAMistypedScopeStopsNobodyElse(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.answer = func(int, token.Credential, string) error {
			if h.last().audience != scope {
				return &remedy.Fault{Class: remedy.WrongConfig, Reason: "SCOPE_INVALID", Remedy: "Somebody must act.", OfAudience: true}
			}
			return nil
		}
		k, typo := h.broker(), wish(appOnly())
		typo.Audience = "https://outlok"
		for range 10 {
			h.fault(k, typo, "SCOPE_INVALID")
		}
		h.must(k, wish(appOnly()))
		h.fault(h.broker(), typo, "SCOPE_INVALID")
		h.want(2)
	})
}

func TestTheNextSecretIsTriedAndRemembered(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.answer = func(_ int, c token.Credential, _ string) error {
			if reveal(c.Secrets) == "s1" {
				return refuse(remedy.ClientSecretExpired)
			}
			return nil
		}
		c := appOnly()
		c.Secrets = append(c.Secrets, secret.New("s2"))
		k := h.broker()
		h.must(k, wish(c))
		h.want(2)
		time.Sleep(2 * time.Hour)
		h.must(k, wish(c))
		h.want(3)
		if h.last().secret != "s2" {
			t.Error("the secret that failed was tried again")
		}
	})
}

func TestAnUnknownRefusalIsTriedThreeTimes(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.answer = func(int, token.Credential, string) error {
			return remedy.Default().FromAnswer(remedy.About{Provider: "microsoft"}, 400, nil, []byte(`{"error":"something_new"}`))
		}
		k := h.broker()
		for n := 1; n <= 3; n++ {
			class := h.fault(k, wish(appOnly()), remedy.UnknownRefusal).Class
			if frozen := n == 3; class.Freezes() != frozen {
				t.Errorf("try %d: %s", n, class)
			}
			h.want(n)
			time.Sleep(time.Hour)
			k = h.broker() // the count outlives the process
		}
		h.fault(k, wish(appOnly()), remedy.UnknownRefusal)
		h.want(3)
		if st := k.Status(t.Context(), appOnly(), scope); st.State != keeper.Frozen {
			t.Errorf("state %s", st.State)
		}
	})
}

func TestAnUnknownProviderIsAFault(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		c := appOnly()
		c.Provider = "nobody"
		h.fault(h.broker(), wish(c), remedy.GrantNotServed)
		h.want(0)
	})
}

func TestCheck(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		k := h.broker()
		for n := 1; n <= 5; n++ { // more often than tokens may be refused
			if err := k.Check(t.Context(), wish(appOnly())); err != nil {
				t.Fatalf("check %d: %v", n, err)
			}
			h.want(n)
		}
		h.must(k, wish(appOnly()))
		h.want(5) // the token of the last check serves
		h.answer = func(int, token.Credential, string) error { return refuse("TENANT_NOT_FOUND") }
		var fault *remedy.Fault
		if err := k.Check(t.Context(), wish(appOnly())); !errors.As(err, &fault) || fault.Reason != "TENANT_NOT_FOUND" {
			t.Fatalf("check: %v", err)
		}
		h.want(6)
		if err := k.Check(t.Context(), wish(appOnly())); !errors.As(err, &fault) {
			t.Fatalf("a frozen credential: %v", err)
		}
		h.want(6) // frozen: the provider is not asked
		h.answer = nil
		if err := k.Reset(t.Context(), appOnly()); err != nil {
			t.Fatal(err)
		}
		if err := k.Check(t.Context(), wish(appOnly())); err != nil {
			t.Fatalf("after the reset: %v", err)
		}
		h.want(7)
	})
}

func TestStatus(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		k := h.broker()
		state := func(want keeper.State) keeper.Status {
			t.Helper()
			st := k.Status(t.Context(), appOnly(), scope)
			if st.State != want {
				t.Errorf("state %s, want %s", st.State, want)
			}
			return st
		}
		state(keeper.Unknown)
		out := h.must(k, wish(appOnly()))
		if st := state(keeper.Ready); st.Generation != out.Token.Generation || !st.Expires.Equal(out.Token.Expires) || st.Minted.IsZero() || st.Mints != 1 {
			t.Errorf("%+v", st)
		}
		time.Sleep(2 * time.Hour)
		h.answer = func(int, token.Credential, string) error { return down() }
		h.fault(k, wish(appOnly()), remedy.Unavailable)
		if st := state(keeper.Waiting); !st.NextTry.After(time.Now()) {
			t.Errorf("next try %s", st.NextTry)
		}
		time.Sleep(time.Hour)
		h.answer = func(int, token.Credential, string) error { return refuse("TENANT_NOT_FOUND") }
		h.fault(k, wish(appOnly()), "TENANT_NOT_FOUND")
		if st := state(keeper.Frozen); st.Fault.Reason != "TENANT_NOT_FOUND" {
			t.Errorf("%+v", st)
		}
		k = h.broker() // after a restart, before anybody asks
		state(keeper.Frozen)
	})
}
