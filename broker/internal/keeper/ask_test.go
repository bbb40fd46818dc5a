package keeper_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
)

func TestADayAtOneAskAMinuteCostsFewRequests(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		k, waited := h.broker(), 0
		for range 24 * 60 {
			if out := h.must(k, wish(appOnly())); out.Source != keeper.FromMemory {
				waited++
			} else if out.Warning != nil {
				t.Errorf("warning %v", out.Warning)
			}
			time.Sleep(time.Minute)
		}
		if n := h.requests(); n < 24 || n > 36 {
			t.Errorf("%d requests in a day", n)
		}
		if waited != 1 {
			t.Errorf("%d callers had to wait; only the first should", waited)
		}
	})
}

func TestColdCallersShareOneRequest(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		k := h.broker()
		h.crowded(600, k)
		h.want(1)
	})
}

func TestReplicasShareOneRequest(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		start := time.Now()
		h.crowded(600, h.broker(), h.broker(), h.broker())
		h.want(1)
		if took := time.Since(start); took != h.latency {
			t.Errorf("took %s: the others were not woken when the one request came back after %s", took, h.latency)
		}
	})
}

func TestTheLeaseOutlivesASlowProvider(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.latency = 10 * time.Second // the HTTP time-out of the grants
		h.crowded(30, h.broker(), h.broker(), h.broker())
		h.want(1)
	})
}

// crowded lets n callers ask at once, spread over brokers; all get the same token.
func (h *house) crowded(n int, brokers ...*keeper.Keeper) {
	h.t.Helper()
	var all sync.WaitGroup
	values := make(chan string, n)
	for i := range n {
		all.Go(func() {
			out, err := brokers[i%len(brokers)].Ask(h.t.Context(), wish(appOnly()))
			if err != nil {
				h.t.Error(err)
			}
			values <- out.Token.Value.Reveal()
		})
	}
	all.Wait()
	close(values)
	first := <-values
	for v := range values {
		if v != first {
			h.t.Fatalf("%s and %s were handed out", first, v)
		}
	}
}

func TestAReplicaTakesOverWhatAnotherRenewed(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		a, b := h.broker(), h.broker()
		h.must(a, wish(appOnly()))
		first := h.must(b, wish(appOnly()))
		time.Sleep(55 * time.Minute) // both are to renew soon
		h.must(a, wish(appOnly()))
		synctest.Wait()
		time.Sleep(time.Second)
		h.must(b, wish(appOnly()))
		synctest.Wait()
		if out := h.must(b, wish(appOnly())); out.Token.Generation <= first.Token.Generation {
			t.Errorf("still generation %d", out.Token.Generation)
		}
		h.want(2)
	})
}

func TestTheCallerLeavesAndTheWorkGoesOn(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		k := h.broker()
		h.latency = 5 * time.Second
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := k.Ask(ctx, wish(appOnly()))
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
		time.Sleep(5 * time.Second)
		if out := h.must(k, wish(appOnly())); out.Source != keeper.FromMemory {
			t.Errorf("from %s", out.Source)
		}
		h.want(1)
	})
}

func TestInsideTheMarginCallersWait(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		k := h.broker()
		old := h.must(k, wish(appOnly()))
		time.Sleep(time.Until(old.UsableUntil))
		out := h.must(k, wish(appOnly()))
		if out.Source != keeper.FromProvider || out.Token.Generation <= old.Token.Generation {
			t.Errorf("from %s", out.Source)
		}
	})
}

func TestALargerMarginIsObeyed(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		k := h.broker()
		h.must(k, wish(appOnly()))
		time.Sleep(20 * time.Minute)
		w := wish(appOnly())
		w.Margin = 50 * time.Minute // 40 are left
		h.must(k, w)
		h.want(2)
	})
}

func TestATokenBornInsideItsMarginIsNoLoop(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		k := h.broker()
		h.life = 10 * time.Minute
		w := wish(appOnly())
		w.Margin = 10 * time.Minute
		for range 50 {
			f := h.fault(k, w, remedy.LifetimeBelowMargin)
			if f.Class != remedy.WrongConfig {
				t.Fatalf("class %s", f.Class)
			}
			time.Sleep(time.Second)
		}
		h.want(1)
		h.must(k, wish(appOnly())) // it does for others
		h.want(1)
	})
}

func TestHandoutSaysWhenToComeBack(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		out := h.must(h.broker(), wish(appOnly()))
		if !out.UsableUntil.Equal(out.Token.Expires.Add(-margin)) || !out.RenewAt.Before(out.UsableUntil) || !out.RenewAt.After(out.Token.Sent) {
			t.Errorf("expires %s, usable until %s, renewed at %s", out.Token.Expires, out.UsableUntil, out.RenewAt)
		}
		if out.Fingerprint != out.Token.Value.Fingerprint() {
			t.Errorf("the fingerprint %s is another token's", out.Fingerprint)
		}
	})
}

func TestAudiencesOfOneCredentialDoNotMeet(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		k, other := h.broker(), wish(appOnly())
		other.Audience = "https://graph.microsoft.com/.default"
		first, second := h.must(k, wish(appOnly())), h.must(k, other)
		if first.Token.Value.Equal(second.Token.Value) || h.last().audience != other.Audience {
			t.Error("one token for two audiences")
		}
	})
}

func TestADeadCacheCostsRequestsNotAnOutage(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.store.CacheDown(true)
		for range 3 {
			k := h.broker()
			for range 10 {
				h.must(k, wish(appOnly()))
			}
		}
		h.want(3)
	})
}

func TestADeadStoreCostsRequestsNotAnOutage(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.store.CacheDown(true)
		h.store.StoreDown(true)
		k := h.broker()
		h.crowded(100, k)
		h.want(1)
		h.answer = func(int, token.Credential, string) error { return refuse("TENANT_NOT_FOUND") }
		other := appOnly()
		other.ID = "other"
		for range 20 { // a failure is remembered without the store too
			h.fault(k, wish(other), "TENANT_NOT_FOUND")
		}
		h.want(2)
	})
}

func TestASpoiledCacheIsAMissAndAnAlarm(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.must(h.broker(), wish(appOnly()))
		h.store.TamperToken(appOnly().Key(scope))
		h.must(h.broker(), wish(appOnly()))
		h.want(2)
	})
}

func TestABrokerThatDiedWithTheLeaseIsWaitedFor(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		if _, err := h.store.Broker().Lease(t.Context(), "app", 15*time.Second); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		h.must(h.broker(), wish(appOnly()))
		if waited := time.Since(start); waited < 15*time.Second || waited > 17*time.Second {
			t.Errorf("waited %s for a lease of 15 s", waited)
		}
	})
}

// lateCache has what another broker puts there just after the first look.
type lateCache struct {
	keeper.Cache
	looks int
}

func (c *lateCache) Get(ctx context.Context, k token.Key) (token.Token, error) {
	c.looks++
	if c.looks == 1 {
		return token.Token{}, nil
	}
	return c.Cache.Get(ctx, k)
}

func TestTheCacheIsLookedIntoAgainUnderTheLease(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		h.must(h.broker(), wish(appOnly()))
		view := h.store.Broker()
		k := keeper.New(keeper.Config{
			Grants: map[token.Provider]keeper.Grant{token.Microsoft: h.provider}, Cache: &lateCache{Cache: view}, Credentials: view,
		})
		defer k.Close()
		if out := h.must(k, wish(appOnly())); out.Source != keeper.FromCache {
			t.Errorf("from %s", out.Source)
		}
		h.want(1)
	})
}

func TestAFailedRenewalIsNotTriedAtEveryAsk(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		view := h.store.Broker()
		cache := &lateCache{Cache: view}
		k := keeper.New(keeper.Config{
			Grants: map[token.Provider]keeper.Grant{token.Microsoft: h.provider}, Cache: cache, Credentials: view,
		})
		defer k.Close()
		h.must(k, wish(delegated()))
		time.Sleep(55 * time.Minute)
		h.store.StoreDown(true)
		before := cache.looks
		for range 1000 {
			h.must(k, wish(delegated()))
			synctest.Wait()
			time.Sleep(10 * time.Millisecond)
		}
		if n := cache.looks - before; n < 2 || n > 15 {
			t.Errorf("%d tries in ten seconds", n)
		}
	})
}

func TestRetireForgets(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		metrics := prometheus.NewPedanticRegistry()
		k := h.brokerWith(keeper.Config{Metrics: metrics})
		h.must(k, wish(appOnly()))
		kept := appOnly()
		kept.ID = "kept"
		h.must(k, wish(kept))
		k.Retire(func(id, _ string) bool { return id == "kept" })
		if n := gauge(t, metrics, "broker_tokens_held"); n != 1 {
			t.Errorf("%v tokens held", n)
		}
		if out := h.must(k, wish(kept)); out.Source != keeper.FromMemory {
			t.Errorf("the live token came from %s", out.Source)
		}
		if out := h.must(k, wish(appOnly())); out.Source != keeper.FromCache {
			t.Errorf("the retired token came from %s", out.Source)
		}
	})
}

func TestCloseGivesUp(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		k := h.broker()
		h.latency = time.Hour
		failed := make(chan error)
		go func() {
			_, err := k.Ask(t.Context(), wish(appOnly()))
			failed <- err
		}()
		synctest.Wait()
		go k.Close()
		if err := <-failed; err == nil {
			t.Error("a token after Close")
		}
		if h.store.Saves() != 0 {
			t.Error("the end of the broker was noted as a failure of the credential")
		}
	})
}

func TestMemoryIsAnsweredWithoutAllocations(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		k, w := h.broker(), wish(appOnly())
		h.must(k, w)
		ctx := t.Context()
		n := testing.AllocsPerRun(100, func() {
			if _, err := k.Ask(ctx, w); err != nil {
				t.Error(err)
			}
		})
		if n > 0 {
			t.Errorf("%v allocations", n)
		}
	})
}
