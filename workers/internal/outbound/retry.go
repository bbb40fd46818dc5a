package outbound

import (
	"errors"
	"math/rand/v2"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/fault"
)

// Options are the engine's own; the zero value of each field means its default.
type Options struct {
	Claim      time.Duration // how long a claim lasts; it is extended while its job runs; default 30 s
	GiveUp     time.Duration // age at which a message that cannot be sent dies; default 5 days (RFC 5321 section 4.5.4.1)
	HumanRetry time.Duration // how often to look whether somebody mended a credential; default 1 min
	DelayAfter time.Duration // age at which a Reporter is told that a message waits; 0 = never
	Drain      time.Duration // how long running transactions may take once the Sender is told to stop; default 20 s
}

func (o Options) withDefaults() Options {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&o.Claim, 30 * time.Second}, {&o.GiveUp, 5 * 24 * time.Hour}, {&o.HumanRetry, time.Minute}, {&o.Drain, 20 * time.Second}} {
		if *d.field <= 0 {
			*d.field = d.value
		}
	}
	return o
}

// schedule is the wait after the first, second, ... attempt; the last one goes on. The first are short: what breaks most
// often is a connection, and the next one works.
var schedule = []time.Duration{
	3 * time.Second, 10 * time.Second, 30 * time.Second, 2 * time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 4 * time.Hour,
}

// recipientWait is the least wait after a single recipient was refused for now: greylisting servers want minutes.
const recipientWait = time.Minute

// brokerRetry is how often to look whether the broker is back, or has a token again. What keeps it from giving one out is not
// the messages' doing: after an outage of hours they must not wait for hours more.
const brokerRetry = 10 * time.Second

// brokers says whether err is the broker's: without a token nothing was offered.
func brokers(err error) bool { return errors.As(err, new(*tokenclient.Error)) }

// wait is how long to wait after so many attempts, the failed one not counted.
func wait(attempts int) time.Duration {
	return jitter(schedule[min(attempts, len(schedule)-1)])
}

// jitter spreads d by a fifth up and down, so that what failed together does not come back together.
func jitter(d time.Duration) time.Duration { return d - d/5 + rand.N(2*d/5+1) }

// patience is how long err itself asks to wait; 0 = it does not say.
func patience(err error) time.Duration {
	var server errAway
	var broker *tokenclient.Error
	switch {
	case errors.As(err, &server):
		return server.wait
	case errors.As(err, &broker) && broker.Wait > 0:
		return broker.Wait
	}
	return fault.After(err)
}

// kindOf is what to do about err. The broker's classes are mapped to kinds: what needs a human is Auth.
func kindOf(err error) fault.Kind {
	var broker *tokenclient.Error
	if !errors.As(err, &broker) {
		return fault.Of(err)
	}
	switch {
	case broker.NeedsHuman():
		return fault.Auth
	case broker.Class == tokenclient.Throttled:
		return fault.Throttled
	}
	return fault.Temporary
}
