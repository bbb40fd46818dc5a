package simulation

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
	"mailporter/kit/secret"
)

// referee sees everything and holds what must be true at every moment:
//
//   - a token that is handed out is outside its margin, counted from when its request was sent, and is what was asked for;
//   - the refresh token that came with it is durable by then;
//   - one renewal of a credential is under way in the fleet; without the store, one in each process, and none at all of what
//     rotates;
//   - no refresh token is used before it is durable: the old one may end with that;
//   - no request may outlive the lease that it is made under;
//   - nothing is asked while the credential is frozen or on hold, nor by a process that was told to wait;
//   - nothing is asked for what the cache held when the lease was granted;
//   - nothing is frozen that works;
//   - no more than stormLimit requests a minute for a credential, but while brokers with two versions of it take turns.
type referee struct {
	w *world

	mu       sync.Mutex
	underway map[string][]request // by credential
	leases   map[of]*lease        // that a process has
	unleased map[of]time.Time     // when the store last kept a process from a lease
	seen     map[of]int64         // the highest generation that a process has seen, by key
	pauses   map[of]pause         // what a process was told by the provider
	troubles map[*link]time.Time  // the last error of the store
	records  map[string]keeper.Record
	written  map[string]time.Time        // the last record of a credential
	durable  map[secret.Fingerprint]bool // refresh tokens that were saved
	turned   map[string]time.Time        // the last record of another version than the one before
	minutes  map[string][]time.Time      // requests of the last minute, by credential
	handouts int
	requests int
}

// of is about a process and a credential or key.
type of struct {
	link *link
	what string
}

// request is one exchange with the provider.
type request struct {
	link       *link
	credential *token.Credential
	audience   token.Audience
	refresh    secret.String
	sent, ends time.Time // it ends there whatever happens
	deadline   time.Time // the latest moment at which it could have ended
	lease      *lease    // nil: without
}

// pause is a process's knowledge that the provider wants none of its requests.
type pause struct {
	since, until time.Time
	alone        bool // without a lease
}

const stormLimit = 40

func newReferee(w *world) *referee {
	return &referee{w: w, underway: map[string][]request{}, leases: map[of]*lease{}, unleased: map[of]time.Time{}, seen: map[of]int64{},
		pauses: map[of]pause{}, troubles: map[*link]time.Time{}, records: map[string]keeper.Record{}, written: map[string]time.Time{}, turned: map[string]time.Time{}, durable: map[secret.Fingerprint]bool{},
		minutes: map[string][]time.Time{}}
}

// troubled notes that the store did not serve a process.
func (f *referee) troubled(l *link, err error) {
	if errors.Is(err, keeper.ErrLeased) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.troubles[l] = time.Now()
}

// looked notes which token a process has seen.
func (f *referee) looked(l *link, k token.Key, t token.Token) {
	f.mu.Lock()
	defer f.mu.Unlock()
	o := of{l, text(k)}
	f.seen[o] = max(f.seen[o], t.Generation)
}

func (f *referee) leaseAnswered(l *link, id string, got *lease, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch o := (of{l, id}); {
	case err == nil:
		f.leases[o] = got
	case !errors.Is(err, keeper.ErrLeased):
		f.unleased[o] = time.Now()
	}
}

func (f *referee) leaseEnded(l *lease) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if o := (of{l.view.link, l.id}); f.leases[o] == l {
		delete(f.leases, o)
	}
}

// lost notes that a failover took a lease back: what follows from that is nobody's fault.
func (f *referee) lost(l *lease) {
	f.mu.Lock()
	defer f.mu.Unlock()
	l.lost = true
}

// saved looks at what gets written.
func (f *referee) saved(id string, r keeper.Record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.records[id].Version != r.Version {
		f.turned[id] = time.Now()
	}
	f.records[id], f.written[id] = r, time.Now()
	for _, s := range []secret.String{r.Refresh, r.Previous} {
		f.durable[s.Fingerprint()] = true
	}
	if r.Frozen != nil && !f.w.broken(id, r.Version) {
		f.w.fault("%s is frozen (%s), and works", id, r.Frozen.Reason)
	}
}

// leaseOf is the lease that a process has, if it is clear which: while a change of the configuration is taken up, one version
// may have the lease and another one be kept from it by the store's troubles.
func (f *referee) leaseOf(o of) *lease {
	l := f.leases[o]
	if l != nil && f.unleased[o].After(l.granted) {
		return nil
	}
	return l
}

// requested judges a request as it is sent.
func (f *referee) requested(r request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	id := r.credential.ID
	r.lease = f.leaseOf(of{r.link, id})
	f.requests++
	f.judgeLease(r)
	f.judgeOverlap(r)
	f.judgeHold(r)
	f.judgeNeed(r)
	f.judgeRefresh(r)
	f.judgeRate(id)
	f.underway[id] = append(f.underway[id], r)
}

func (f *referee) judgeLease(r request) {
	id, name := r.credential.ID, r.link.name
	switch _, excused := f.unleased[of{r.link, id}]; {
	case r.lease != nil && r.deadline.After(r.lease.until):
		f.w.fault("the request of %s for %s may outlive its lease by %s", name, id, r.deadline.Sub(r.lease.until))
	case r.lease != nil:
	case r.credential.Rotates() && f.leases[of{r.link, id}] == nil:
		f.w.fault("%s uses the refresh token %s without a lease", name, id)
	case !excused:
		f.w.fault("%s asks for %s without a lease, and the store works", name, id)
	}
}

func (f *referee) judgeOverlap(r request) {
	id := r.credential.ID
	for _, u := range f.underway[id] {
		if !u.ends.After(r.sent) || u.link.isDead() {
			continue
		}
		if u.link == r.link && u.credential.Version != r.credential.Version {
			continue // while a change is taken up, what a process began before goes on beside what it begins after
		}
		alone := u.lease == nil || r.lease == nil
		lost := !alone && (u.lease.lost || r.lease.lost)
		if u.link == r.link || !alone && !lost {
			f.w.fault("%s and %s renew %s at one time", u.link.name, r.link.name, id)
		}
	}
}

func (f *referee) judgeHold(r request) {
	id, now := r.credential.ID, r.sent
	known := f.records[id]
	if r.lease == nil || known.Version != r.credential.Version {
		return
	}
	switch p := f.pauses[of{r.link, id + known.Version}]; {
	case known.Frozen != nil:
		f.w.fault("%s asks for %s, which is frozen", r.link.name, id)
	case known.Last != nil && known.Hold.Sub(now) > f.w.spread:
		f.w.fault("%s asks for %s, which is on hold for %s", r.link.name, id, known.Hold.Sub(now))
	case p.until.After(now) && !f.troubles[r.link].After(p.since) && !f.overruled(id, p):
		f.w.fault("%s was told to leave %s alone for another %s", r.link.name, id, p.until.Sub(now))
	}
}

// overruled: what a process learned while the store was away counts for less than what another one wrote later, and a
// version of the credential knows nothing of another one's pauses.
func (f *referee) overruled(id string, p pause) bool {
	return p.alone && f.written[id].After(p.since) || f.turned[id].After(p.since)
}

// judgeNeed: a process that has the lease must have seen what the others brought before.
func (f *referee) judgeNeed(r request) {
	if r.lease == nil || f.troubles[r.link].After(r.lease.granted) {
		return
	}
	k := r.credential.Key(r.audience)
	if t := r.lease.cached[k]; t.Generation > f.seen[of{r.link, text(k)}] {
		f.w.fault("%s renews %s, and has not looked at the token that another broker brought", r.link.name, r.credential.ID)
	}
}

func (f *referee) judgeRefresh(r request) {
	if r.credential.Rotates() && !r.refresh.Equal(r.credential.Refresh) && !f.durable[r.refresh.Fingerprint()] {
		f.w.fault("%s uses a refresh token of %s that is not durable", r.link.name, r.credential.ID)
	}
}

func (f *referee) judgeRate(id string) {
	young := slices.DeleteFunc(f.minutes[id], func(at time.Time) bool { return time.Since(at) > time.Minute })
	f.minutes[id] = append(young, time.Now())
	if n := len(f.minutes[id]); n > stormLimit {
		f.w.fault("%d requests for %s within a minute", n, id)
	}
}

// answered ends a process's request.
func (f *referee) answered(l *link, id, version string, fault *remedy.Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.underway[id] = slices.DeleteFunc(f.underway[id], func(r request) bool { return r.link == l })
	if fault != nil && !fault.Class.Freezes() {
		now := time.Now()
		f.pauses[of{l, id + version}] = pause{now, now.Add(max(fault.After, time.Second)), f.leases[of{l, id}] == nil}
	}
}

// pardon: a person says that the cause is gone, or a broker succeeded.
func (f *referee) pardon(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	maps.DeleteFunc(f.pauses, func(o of, _ pause) bool { return strings.HasPrefix(o.what, id) })
}

// handed judges a token in the hands of a caller: h with its times as the replica's clock has them, after the generation that
// the caller had, 0 = none.
func (f *referee) handed(r *replica, m *mailbox, w keeper.Wish, h keeper.Handout) {
	i, known := f.w.provider.find(h.Token.Value)
	true := shifted(h.Token, r.skew)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.handouts++
	left, drift := time.Until(i.sent.Add(i.life)), true.Expires.Sub(i.sent.Add(i.life))
	switch {
	case !known:
		f.w.fault("%s hands out a token that nobody issued", r.name())
	case i.key.Credential != w.Credential.ID || i.key.Audience != w.Audience || i.key.Version != w.Credential.Version:
		f.w.fault("%s hands out the token of another: %s", r.name(), text(i.key))
	case left <= w.Margin-f.w.spread:
		f.w.fault("%s hands out a token of %s with %s left, the margin is %s", r.name(), m, left, w.Margin)
	case drift.Abs() > f.w.spread:
		f.w.fault("%s counts the expiry of %s wrong by %s", r.name(), m, drift)
	case !h.UsableUntil.Equal(h.Token.Expires.Add(-w.Margin)) || h.RenewAt.After(h.UsableUntil):
		f.w.fault("%s says a wrong time for %s", r.name(), m)
	case h.Token.Generation <= w.NewerThan:
		f.w.fault("%s hands out generation %d of %s, wanted is a newer one than %d", r.name(), h.Token.Generation, m, w.NewerThan)
	case h.Fingerprint != h.Token.Value.Fingerprint():
		f.w.fault("%s gives a wrong fingerprint for %s", r.name(), m)
	case !i.refresh.Empty() && !f.durable[i.refresh.Fingerprint()]:
		f.w.fault("%s hands out a token of %s before the refresh token is durable that came with it", r.name(), m)
	}
}

// refused judges what a caller hears instead of a token.
func (f *referee) refused(r *replica, m *mailbox, err error) {
	var fault *remedy.Fault
	said := err.Error()
	if errors.As(err, &fault) {
		said += fault.Remedy + fault.Detail + fault.Trace + fault.Link
	}
	if strings.Contains(said, marker) {
		f.w.fault("%s tells a secret of %s", r.name(), m)
	}
}
