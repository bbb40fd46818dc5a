package inbound_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mailporter/workers/internal/inbound"
)

// restless is a server that ends the session whenever it is waited on.
type restless struct {
	source
	err   error
	waits *atomic.Int32
}

// Wait implements inbound.Waiter.
func (r restless) Wait(context.Context, time.Duration) error {
	r.waits.Add(1)
	return r.err
}

func TestAServerThatCannotBeWaitedOnIsPolled(t *testing.T) {
	for name, err := range map[string]error{
		"it hangs up":           errors.New("EOF"),
		"it says the token did": fmt.Errorf("idle: %w", inbound.ErrSessionOver),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(&server{kind: byUID})
				r.server.add(letters(2)...)
				r.mover.Rules.Cycle = time.Minute
				waits := &atomic.Int32{}
				r.mover.Source = restless{source{r.server}, err, waits}
				r.run(t)
				time.Sleep(time.Hour)
				r.mustHave(t, 2)
				if n := waits.Load(); n < 30 || n > 65 {
					t.Errorf("waited %d times in an hour", n)
				}
				r.stop()
			})
		})
	}
}
