package inbound

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/fault"
)

// Waits after failures: doubled from Options.FirstWait to the last, each drawn from nothing to all of it, so that a fleet does not
// come back in one wave.
const (
	lastWait = 5 * time.Minute
	// authWait is the first wait after a refused credential: somebody must act, and servers lock those who knock often.
	authWait = 30 * time.Second
)

// backoff is the wait before attempt failures+1 after err; failures counts from 1.
func backoff(first time.Duration, failures int, err error) time.Duration {
	if after := waitAsked(err); after > 0 {
		return after + rand.N(after/8+time.Millisecond) // never early
	}
	if fault.Of(err) == fault.Auth || needsHuman(err) {
		first = authWait
	}
	top := lastWait
	if shift := failures - 1; shift < 16 {
		top = min(lastWait, first<<shift)
	}
	wait := rand.N(top) + time.Millisecond
	if first == authWait {
		wait = top/2 + wait/2
	}
	return wait
}

// waitAsked is how long server or broker asked to wait, 0 if they did not.
func waitAsked(err error) time.Duration {
	var broker *tokenclient.Error
	if errors.As(err, &broker) && broker.Wait > 0 {
		return broker.Wait
	}
	return fault.After(err)
}

func needsHuman(err error) bool {
	var broker *tokenclient.Error
	return errors.As(err, &broker) && broker.NeedsHuman()
}

// pause waits for d or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
