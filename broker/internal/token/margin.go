package token

import (
	"hash/fnv"
	"math"
	"strconv"
	"time"
)

// Zone is how a token stands at a moment.
type Zone int

// The zones, in the order of a token's life backwards.
const (
	// InsideMargin: never hand it out; wait for another.
	InsideMargin Zone = iota
	// RenewSoon: hand it out at once and renew in the background.
	RenewSoon
	// Fresh: hand it out.
	Fresh
)

// String is the zone as a metric label.
func (z Zone) String() string { return [...]string{"inside-margin", "renew-soon", "fresh"}[z] }

const (
	renewShare    = 0.75            // of the life, where the provider gives no refresh_in
	jitterShare   = 0.10            // of the way to the renew-ahead point, either way
	earliestShare = 0.50            // of the time before the margin: renewing sooner would only cost requests
	leastReserve  = 5 * time.Minute // between the renew-ahead point and the expiry, where the life allows it
)

// UsableUntil is when the token enters its margin: nothing new starts with it from here on.
func (t Token) UsableUntil(margin time.Duration) time.Time { return t.Expires.Add(-margin) }

// Usable says whether strictly more than the margin is left. A zero token is never usable.
func (t Token) Usable(now time.Time, margin time.Duration) bool {
	return !t.Zero() && t.Expires.Sub(now) > margin
}

// BornInside says that the token never had more than the margin: renewing it again would loop for ever.
func (t Token) BornInside(margin time.Duration) bool { return t.Life() <= margin }

// ZoneAt is the margin rule. jitter is Jitter of the token's key and generation, margin how long the token must stay
// valid after it was handed out.
func (t Token) ZoneAt(now time.Time, margin time.Duration, jitter float64) Zone {
	switch {
	case !t.Usable(now, margin):
		return InsideMargin
	case now.Before(t.RenewAt(margin, jitter)):
		return Fresh
	}
	return RenewSoon
}

// RenewAt is the renew-ahead point: refresh_in or 75 % of the life after Sent, moved by the jitter, early enough to leave
// max(2 margins, 5 minutes) for trouble, but not before half of the time is over in which the token can be used.
func (t Token) RenewAt(margin time.Duration, jitter float64) time.Time {
	life := t.Life()
	ahead := share(life, renewShare)
	if t.RenewIn > 0 {
		ahead = t.RenewIn
	}
	ahead = share(ahead, 1+jitter)
	ahead = min(ahead, life-max(2*margin, leastReserve))
	ahead = max(ahead, share(life-margin, earliestShare))
	return t.Sent.Add(min(ahead, life-margin))
}

// Jitter spreads renew-ahead points over a tenth either way. It is a function of the key and the generation, so that all
// brokers of a fleet come to the same point, and tests to the same result.
func Jitter(k Key, generation int64) float64 { return jitterShare * (2*Spread(k, generation) - 1) }

// Spread is a number from 0 to 1 that is the same for a key and a generation in every broker, and far apart for like ones.
func Spread(k Key, generation int64) float64 {
	h := fnv.New64a()
	for _, part := range []string{k.Credential, k.Version, string(k.Audience), strconv.FormatInt(generation, 10)} {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	// FNV leaves the upper bits of like inputs alike: mix them (the finalizer of MurmurHash3).
	x := h.Sum64()
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	x ^= x >> 33
	return float64(x) / math.MaxUint64
}

func share(d time.Duration, of float64) time.Duration { return time.Duration(float64(d) * of) }
