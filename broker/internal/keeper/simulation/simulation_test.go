package simulation

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"mailporter/broker/internal/keeper/keepertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// usualSeeds is how many worlds a run of the tests visits; make test visits many more without the race detector.
const usualSeeds = 200

// repeated is how many of them are visited twice.
const repeated = 20

// tally is what all worlds came to.
type tally struct {
	seeds, events, requests, handouts atomic.Int64

	mu     sync.Mutex
	failed []uint64
}

// TestSimulation visits many worlds. A failure names the seed.
func TestSimulation(t *testing.T) {
	start := time.Now()
	seeds := wanted(t, usualSeeds)
	var sum tally
	t.Run("seeds", func(t *testing.T) {
		for n := range parallel {
			t.Run(strconv.Itoa(n), func(t *testing.T) {
				t.Parallel()
				for i := n; i < len(seeds) && sum.goOn(seeds[i]); i += parallel {
					sum.visit(t, seeds[i])
				}
			})
		}
	})
	fmt.Printf("simulation: %d seeds, %d events, %d token requests, %d tokens handed out, %s\n",
		sum.seeds.Load(), sum.events.Load(), sum.requests.Load(), sum.handouts.Load(), time.Since(start).Round(time.Millisecond))
}

const (
	parallel = 4 // worlds at a time
	enough   = 3 // failures
)

// again is how often SIM_SEED visits its world: where goroutines meet at the same nanosecond, one run is not the next.
const again = 10

// wanted are the seeds to visit: SIM_SEED=n is that one, SIM_SEEDS=n so many.
func wanted(t *testing.T, usual uint64) []uint64 {
	if s, ok := os.LookupEnv("SIM_SEED"); ok {
		return slices.Repeat([]uint64{number(t, "SIM_SEED", s)}, again)
	}
	n := usual
	if s, ok := os.LookupEnv("SIM_SEEDS"); ok {
		n = number(t, "SIM_SEEDS", s)
	}
	seeds := slices.Clone(found)
	for i := range n {
		seeds = append(seeds, i)
	}
	return seeds
}

// found are seeds that showed a mistake once and lie beyond the usual ones: two refused versions of a credential that
// freed each other.
var found = []uint64{10324}

func number(t *testing.T, name, s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s must be a whole number: %v", name, err)
	}
	return n
}

// goOn says whether another failure would tell more.
func (s *tally) goOn(seed uint64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.failed) < enough && !slices.Contains(s.failed, seed)
}

func (s *tally) visit(t *testing.T, seed uint64) {
	w := visited(t, seed)
	s.seeds.Add(1)
	s.events.Add(int64(len(w.events)))
	s.requests.Add(int64(w.referee.requests))
	s.handouts.Add(int64(w.referee.handouts))
	if !w.failed() {
		return
	}
	s.mu.Lock()
	s.failed = append(s.failed, seed)
	s.mu.Unlock()
	t.Errorf("seed %d: %s\nagain: SIM_SEED=%d go test -race ./internal/keeper/simulation\n%s", seed, w.faults[0], seed, &w.trace)
}

// visited is a world at its end.
func visited(t *testing.T, seed uint64) *world {
	var w *world
	defer func() {
		if r := recover(); r != nil {
			panic(fmt.Sprintf("seed %d: %v", seed, r)) // goroutines that never end
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		w = newWorld(t, seed)
		w.run()
	})
	return w
}

// TestOneSeedIsOneRun holds that a failure can be brought back.
func TestOneSeedIsOneRun(t *testing.T) {
	for _, seed := range wanted(t, repeated) {
		first, second := visited(t, seed), visited(t, seed)
		a, b := first.sorted(), second.sorted()
		if slices.Equal(a, b) {
			continue
		}
		i := 0
		for i < min(len(a), len(b)) && a[i] == b[i] {
			i++
		}
		t.Errorf("seed %d does not do the same twice:\n%s\nthe second time:\n%s", seed, excerpt(a, i), excerpt(b, i))
	}
}

func TestTheStoreIsACache(t *testing.T) {
	keepertest.Cache(t, func(t *testing.T) keepertest.StoredCache {
		w := newWorld(t, 1)
		s := w.store
		return keepertest.StoredCache{Cache: s.view(newLink(w, "a"), 0), Other: s.view(newLink(w, "b"), 0), Tamper: s.spoil, Move: s.move}
	})
}

func TestTheStoreIsACredentials(t *testing.T) {
	keepertest.Credentials(t, func(t *testing.T) keepertest.StoredCredentials {
		w := newWorld(t, 1)
		s := w.store
		return keepertest.StoredCredentials{Credentials: s.view(newLink(w, "a"), 0), Other: s.view(newLink(w, "b"), 0), Tamper: s.spoilRecord, Move: s.moveRecord}
	})
}
