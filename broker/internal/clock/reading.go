package clock

import (
	"slices"
	"time"
)

// Reading is one look at another clock.
type Reading struct {
	Sent, Received time.Time     // by our clock
	Told           time.Time     // by theirs, between the two
	Resolution     time.Duration // theirs shows times from Told up to, not including, Told + Resolution
}

// interval is in what the difference lies: how much our clock is ahead of theirs.
type interval struct {
	least, most time.Duration
	at          time.Time
}

func (r Reading) interval() interval {
	// Without the monotonic clock: it does not know what time it is.
	sent, received := r.Sent.Round(0), r.Received.Round(0)
	return interval{least: sent.Sub(r.Told.Add(r.Resolution)), most: received.Sub(r.Told), at: received}
}

func (i interval) width() time.Duration { return i.most - i.least }

// middle is the best guess.
func (i interval) middle() time.Duration { return i.least + i.width()/2 }

// atLeast is how far apart the clocks are for certain, never negative.
func (i interval) atLeast() time.Duration { return max(i.least, -i.most, 0) }

func (i interval) overlaps(j interval) bool { return i.least <= j.most && j.least <= i.most }

const (
	remembered = 8                // readings
	tooOld     = 30 * time.Minute // clocks drift
)

// memory is the last readings of one clock, oldest first.
type memory []interval

// with takes a reading in and drops what is too old, too many, or contradicted.
func (m memory) with(fresh interval) memory {
	var kept memory
	for _, i := range m {
		age := fresh.at.Sub(i.at)
		if i.overlaps(fresh) && age >= 0 && age < tooOld {
			kept = append(kept, i)
		}
	}
	kept = append(kept, fresh)
	return kept[max(0, len(kept)-remembered):]
}

// best is what all of them allow, the newest counting most.
func (m memory) best() interval {
	best := m[len(m)-1]
	for _, older := range slices.Backward(m[:len(m)-1]) {
		if best.overlaps(older) {
			best.least, best.most = max(best.least, older.least), min(best.most, older.most)
		}
	}
	return best
}
