package slots_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"mailporter/workers/internal/slots"
	"mailporter/workers/internal/slots/slotstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLocal(t *testing.T) {
	slotstest.Slots(t, func() func(*testing.T) slots.Slots {
		all := map[string]*slots.Local{} // one for each case, whatever it opens
		return func(t *testing.T) slots.Slots {
			if all[t.Name()] == nil {
				all[t.Name()] = &slots.Local{}
			}
			return all[t.Name()]
		}
	}())
}

// TestFirstComeFirstServed: nobody who asks again and again keeps another one waiting.
func TestFirstComeFirstServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l slots.Local
		greedy := func(ctx context.Context) {
			for ctx.Err() == nil {
				if release, err := l.Take(ctx, "x", 2); err == nil {
					time.Sleep(time.Second)
					release()
				}
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() { greedy(ctx) })
		}
		synctest.Wait()
		began := time.Now()
		release, err := l.Take(t.Context(), "x", 2)
		if err != nil || time.Since(began) > 2*time.Second {
			t.Errorf("served after %v, %v", time.Since(began), err)
		}
		release()
		cancel()
		all.Wait()
	})
}
