package keeper_test

import (
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
)

// TestWhateverHappens lets three brokers live through random troubles, and holds what must be true all the time: no token
// is handed out inside its margin, one request at a time goes to the provider, no failure that passes freezes anything, and
// all works again when the troubles end.
func TestWhateverHappens(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			inRotation(t, func(t *testing.T, h *house) { h.live(rand.New(rand.NewPCG(seed, 2))) })
		})
	}
}

func (h *house) live(random *rand.Rand) {
	h.seed = random.Uint64()
	h.life = 20 * time.Minute
	brokers := []*keeper.Keeper{h.broker(), h.broker(), h.broker()}
	var mu sync.Mutex // of random and trouble
	trouble := 0.1
	h.answer = func(int, token.Credential, string) error {
		mu.Lock()
		defer mu.Unlock()
		if random.Float64() < trouble {
			return down()
		}
		return nil
	}
	for range 500 {
		mu.Lock()
		h.upset(random)
		k, pause := brokers[random.IntN(len(brokers))], time.Duration(random.IntN(120))*time.Second
		mu.Unlock()
		h.askAnyHow(k)
		time.Sleep(pause)
	}
	h.store.StoreDown(false)
	h.store.CacheDown(false)
	h.store.FailSaves(0)
	mu.Lock()
	trouble = 0
	mu.Unlock()
	time.Sleep(10 * time.Minute)
	for _, k := range brokers {
		h.must(k, wish(delegated()))
	}
	if n := h.crowdMost(); n > 1 {
		h.t.Errorf("%d requests at one time", n)
	}
}

func (h *house) upset(random *rand.Rand) {
	switch random.IntN(20) {
	case 0:
		h.store.CacheDown(true)
	case 1:
		h.store.StoreDown(true)
	case 2, 3, 4:
		h.store.CacheDown(false)
		h.store.StoreDown(false)
	}
}

// askAnyHow may fail, but only with a fault that passes.
func (h *house) askAnyHow(k *keeper.Keeper) {
	out, err := k.Ask(h.t.Context(), wish(delegated()))
	var f *remedy.Fault
	switch {
	case err == nil && time.Until(out.Token.Expires) <= margin:
		h.t.Errorf("handed out with %s left", time.Until(out.Token.Expires))
	case err != nil && (!errors.As(err, &f) || f.Class != remedy.Transient):
		h.t.Errorf("%v", err)
	}
}
