package policy

import (
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limits counts what identities take. It outlives a Policy, so that a reload gives nobody a fresh allowance. Ready to use
// as it is; any number of goroutines.
type Limits struct {
	mu    sync.Mutex
	taken map[share]*rate.Limiter
}

// share is one allowance. Rules of different rates give an identity one each: asking by the one must not renew the other.
type share struct {
	identity string
	limit    rate.Limit
}

// Take uses one call of the identity's allowance and returns 0, or how long to wait until there is one again.
func (l *Limits) Take(identity string, limit rate.Limit, now time.Time) time.Duration {
	if limit <= 0 {
		return 0
	}
	lim := l.limiter(identity, limit)
	if lim.AllowN(now, 1) {
		return 0
	}
	missing := 1 - lim.TokensAt(now)
	return max(time.Millisecond, time.Duration(missing/float64(limit)*float64(time.Second)))
}

func (l *Limits) limiter(identity string, limit rate.Limit) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.taken == nil {
		l.taken = map[share]*rate.Limiter{}
	}
	key := share{identity, limit}
	lim := l.taken[key]
	if lim == nil {
		lim = rate.NewLimiter(limit, burst(limit))
		l.taken[key] = lim
	}
	return lim
}

// burst is one second's worth: who asks for 100/s may ask for 100 at once.
func burst(limit rate.Limit) int { return int(math.Max(1, math.Ceil(float64(limit)))) }
