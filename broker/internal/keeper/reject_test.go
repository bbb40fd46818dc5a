package keeper_test

import (
	"testing"
	"testing/synctest"
	"time"

	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/remedy"
	"mailporter/kit/secret"
)

// reject reports a token and holds the outcome.
func (h *house) reject(k *keeper.Keeper, out keeper.Handout, want keeper.Outcome) keeper.Rejection {
	h.t.Helper()
	r := k.Reject(h.t.Context(), appOnly(), scope, out.Token.Value.Fingerprint())
	if r.Outcome != want {
		h.t.Fatalf("outcome %s, want %s", r.Outcome, want)
	}
	return r
}

// newer asks for a token after the one that was refused.
func newer(out keeper.Handout) keeper.Wish {
	w := wish(appOnly())
	w.NewerThan = out.Token.Generation
	return w
}

func TestARefusedTokenIsReplacedOnce(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		k := h.broker()
		first := h.must(k, wish(appOnly()))
		for range 20 { // many mailboxes share it and all report it
			h.reject(k, first, keeper.Replacing)
		}
		second := h.must(k, newer(first))
		h.want(2)
		for range 20 {
			if r := h.reject(k, first, keeper.AlreadyReplaced); r.Generation != second.Token.Generation {
				t.Errorf("generation %d", r.Generation)
			}
		}
		synctest.Wait()
		h.want(2)
	})
}

func TestARefusedTokenGoesOnServingOthers(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		k := h.broker()
		first := h.must(k, wish(appOnly()))
		h.latency = 10 * time.Second
		h.reject(k, first, keeper.Replacing)
		if out := h.must(k, wish(appOnly())); out.Source != keeper.FromMemory {
			t.Errorf("from %s", out.Source)
		}
	})
}

func TestFreshTokensRefusedAgainAndAgain(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		k := h.broker()
		out := h.must(k, wish(appOnly()))
		for range 3 {
			h.reject(k, out, keeper.Replacing)
			out = h.must(k, newer(out))
		}
		h.want(4)
		for range 50 {
			r := h.reject(k, out, keeper.Suppressed)
			if r.Fault.Reason != remedy.RejectsFreshToken || r.Fault.After <= 0 || r.Fault.After > 10*time.Minute {
				t.Fatalf("%+v", r.Fault)
			}
			h.fault(k, newer(out), remedy.RejectsFreshToken)
		}
		h.want(4)
		h.must(k, wish(appOnly())) // other mailboxes are served
		if st := k.Status(t.Context(), appOnly(), scope); st.State != keeper.Degraded || st.Fault.Reason != remedy.RejectsFreshToken {
			t.Errorf("%+v", st)
		}
		time.Sleep(10 * time.Minute)
		h.reject(k, out, keeper.Replacing)
		h.must(k, newer(out))
		h.want(5)
	})
}

func TestNewerThanAloneSpendsTheBudgetToo(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		k := h.broker()
		out := h.must(k, wish(appOnly()))
		for range 3 {
			out = h.must(k, newer(out))
		}
		h.fault(k, newer(out), remedy.RejectsFreshToken)
		h.want(4)
	})
}

func TestNobodyDrivesTheGenerationsUp(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		k, w := h.broker(), wish(appOnly())
		w.NewerThan = 1<<63 - 1
		out := h.must(k, w)
		if out.Token.Generation > time.Now().UnixMilli()+1 {
			t.Errorf("generation %d", out.Token.Generation)
		}
	})
}

func TestAProviderThatGivesTheSameAgain(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.value = "always the same"
		k := h.broker()
		out := h.must(k, wish(appOnly()))
		h.fault(k, newer(out), remedy.RejectsFreshToken)
		if again := h.must(k, wish(appOnly())); again.Token.Generation != out.Token.Generation {
			t.Error("the refused token got a new generation")
		}
	})
}

func TestAReportAfterARestart(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		out := h.must(h.broker(), wish(appOnly()))
		h.reject(h.broker(), out, keeper.Replacing) // the cache knows the token
		h.reject(h.broker(), keeper.Handout{}, keeper.AlreadyReplaced)
	})
}

func TestAReportAboutNothing(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		r := h.broker().Reject(t.Context(), appOnly(), scope, secret.Fingerprint{})
		if r.Outcome != keeper.AlreadyReplaced || r.Generation != 0 {
			t.Errorf("%+v", r)
		}
		h.want(0)
	})
}

// TestTheFleetSharesTheBudget: three brokers get the same reports, and make three tokens together, not three each.
func TestTheFleetSharesTheBudget(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		fleet := []*keeper.Keeper{h.broker(), h.broker(), h.broker()}
		out := h.must(fleet[0], wish(appOnly()))
		for i := range 3 {
			time.Sleep(10 * time.Second)
			out = h.must(fleet[i], newer(out))
		}
		h.want(4)
		for _, k := range fleet {
			time.Sleep(10 * time.Second)
			h.fault(k, newer(out), remedy.RejectsFreshToken)
		}
		h.want(4)
		time.Sleep(10 * time.Minute)
		h.must(fleet[1], newer(out))
		h.want(5)
	})
}
