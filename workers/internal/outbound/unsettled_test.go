package outbound_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/outbound/outboundtest"
)

// TestOthersMadeAnAttempt: an outcome that could not be recorded says nothing any more once somebody else has offered the message
// and did not learn what became of it. Otherwise it would go out twice without a word.
func TestOthersMadeAnAttempt(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var settles, claims atomic.Bool // what the store does
		claims.Store(true)
		box, f, reg := &outboundtest.Memory{}, newFar(), prometheus.NewRegistry()
		box.Before = func(step string) error {
			if step == "settle" && !settles.Load() || step == "claim" && !claims.Load() {
				return errors.New("the store is away")
			}
			return nil
		}
		f.fails(fault.Newf(fault.Temporary, "later"))
		submit(t, box, support, ann)
		s := &outbound.Sender{Protocol: "SMTP", Outbox: box, Log: quiet, Metrics: outbound.NewMetrics(reg, box)}
		start(t, s, box, f, settings(support, 1))
		after(0)
		claims.Store(false)
		after(40 * time.Second)
		settles.Store(true) // it is back, and another worker is the first to know
		claims.Store(true)
		other, err := box.Claim(t.Context(), []string{support}, 1, 1, 30*time.Second)
		if err != nil || len(other) != 1 {
			t.Fatal(other, err)
		}
		nobodyKnows := outbound.Verdict{Later: []outbound.Failure{{Address: ann, Reason: "no answer"}}, At: time.Now().Add(time.Second), Doubt: true}
		if err := box.Settle(t.Context(), other[0], nobodyKnows); err != nil {
			t.Fatal(err)
		}
		f.fails(nil)
		after(time.Hour)
		empty(t, box)
		if n := repeated(t, reg); n != 1 {
			t.Errorf("%v messages were named before they were sent again", n)
		}
	})
}
