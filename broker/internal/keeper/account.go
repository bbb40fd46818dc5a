package keeper

import (
	"sync"
	"sync/atomic"
	"time"

	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
	"mailporter/kit/secret"
)

// account is what this process remembers of a credential in one version.
type account struct {
	id, version string
	turn        chan struct{} // holds one token: who has it may take the lease

	known atomic.Pointer[sight]
	mine  atomic.Pointer[Record] // the last one of this version; nil = none yet
	epoch atomic.Int64           // counts what other brokers changed

	mu      sync.Mutex
	moved   chan struct{}               // closed and replaced when another broker changed something
	unsaved unsaved                     // a rotated refresh token that the store did not take
	healthy secret.Fingerprint          // of the client secret or certificate that worked last
	refused map[secret.Fingerprint]bool // those that the provider refused last
	watched []*slot                     // those with lookouts
}

// unsaved is a rotated refresh token that only this process has; the zero value is none.
type unsaved struct {
	refresh secret.String
	used    secret.String // the one that it came for
	stored  secret.String // what the store held then
}

// sight is the store's record as it was last seen.
type sight struct {
	record Record
	at     time.Time // zero: older than what another broker changed
}

func newAccount(id, version string) *account {
	a := &account{id: id, version: version, turn: make(chan struct{}, 1), moved: make(chan struct{}), refused: map[secret.Fingerprint]bool{}}
	a.known.Store(&sight{})
	a.turn <- struct{}{}
	return a
}

// changed wakes who waits for another broker, and lets the store be asked again.
func (a *account) changed() {
	a.forget()
	a.epoch.Add(1)
	a.mu.Lock()
	close(a.moved)
	a.moved = make(chan struct{})
	a.mu.Unlock()
	a.stir()
}

// news is closed at the next change.
func (a *account) news() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.moved
}

// hold keeps what the store did not take.
func (a *account) hold(u unsaved) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.unsaved = u
}

// remember takes what the store holds, or what was to be written there.
func (a *account) remember(r Record) {
	if r.Version == a.version {
		a.mine.Store(&r)
	}
	a.known.Store(&sight{r, time.Now()})
}

// forget lets the store be asked at the next failure.
func (a *account) forget() {
	a.known.Store(&sight{record: a.known.Load().record})
}

// record is the last one seen, and whether it is young enough to be believed.
func (a *account) record(believed time.Duration) (Record, bool) {
	s := a.known.Load()
	return s.record, !s.at.IsZero() && time.Since(s.at) < believed
}

// ours is r, or what was known of this version before a broker with another one wrote its own: while a change makes its way
// through the fleet, two versions that are both refused would else free each other again and again.
func (a *account) ours(r Record) Record {
	if mine := a.mine.Load(); r.Version != a.version && mine != nil {
		return *mine
	}
	return r
}

// block is why nothing may be tried now, or nil. Failures of another version of the credential do not count.
func (r Record) block(version string, a token.Audience, now time.Time) *remedy.Fault {
	switch {
	case r.Version != version:
		return nil
	case r.Frozen != nil:
		return r.Frozen
	case r.Barred[a] != nil:
		return r.Barred[a]
	case r.Last != nil && r.Hold.After(now):
		f := *r.Last
		f.After = r.Hold.Sub(now)
		return &f
	}
	return nil
}

// trouble is the present failure, whether or not it may be tried again.
func (r Record) trouble(version string, a token.Audience, now time.Time) *remedy.Fault {
	if f := r.block(version, a, now); f != nil || r.Version != version {
		return f
	}
	return r.Last
}
