package keeper

import (
	"context"
	"errors"
	"maps"
	"time"

	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
	"mailporter/kit/secret"
)

const (
	leastBackoff = time.Second
	mostBackoff  = 5 * time.Minute
	saveTries    = 3 // for a rotated refresh token
	savePause    = 100 * time.Millisecond
)

// of is the record for this version of the credential: what failed before a change of the configuration says nothing.
func (r Record) of(version string) Record {
	if r.Version != version {
		r.Frozen, r.Last, r.Barred, r.Failures = nil, nil, nil, 0
		r.Since, r.Hold, r.First = time.Time{}, time.Time{}, time.Time{}
		r.Version = version
	}
	r.Barred = maps.Clone(r.Barred)
	return r
}

// failed notes a failure: only a person ends some; the others have to wait.
func (r Record) failed(version string, a token.Audience, f *remedy.Fault, now time.Time, chance func() float64) Record {
	r = r.of(version)
	r.Changed = now
	if f.OfAudience {
		if r.Barred == nil {
			r.Barred = map[token.Audience]*remedy.Fault{}
		}
		r.Barred[a] = f
		return r
	}
	if r.Last == nil {
		r.Since = now
	}
	r.Failures++
	r.Last = f
	if f.Class.Freezes() {
		r.Frozen, r.Hold = f, time.Time{}
		return r
	}
	r.Hold = now.Add(max(f.After, backoff(r.Failures, chance)))
	if f.After > 0 { // all who were throttled at once must not come back at once
		r.Hold = r.Hold.Add(time.Duration(chance() * float64(min(f.After/10, 10*time.Second))))
	}
	return r
}

// backoff is anything from 1 s up to twice as much with every failure, at most 5 min.
func backoff(failures int, chance func() float64) time.Duration {
	ceiling := mostBackoff
	if failures < 9 { // 1 s << 9 is more than 5 min
		ceiling = min(leastBackoff<<failures, mostBackoff)
	}
	return leastBackoff + time.Duration(chance()*float64(ceiling-leastBackoff))
}

// succeeded clears what the success proves wrong.
func (r Record) succeeded(version string, a token.Audience, now time.Time) Record {
	r = r.of(version)
	r.Frozen, r.Last, r.Failures = nil, nil, 0
	r.Since, r.Hold = time.Time{}, time.Time{}
	delete(r.Barred, a)
	r.Minted, r.Changed = now, now
	return r
}

// rotate notes which refresh token worked and which one came. What came is unproved: the one that worked is kept.
func (r *Record) rotate(used, came secret.String, now time.Time) {
	if r.First.IsZero() {
		r.First = now
	}
	if came.Empty() || came.Equal(used) {
		r.Refresh, r.Previous = used, secret.String{}
		return
	}
	r.Refresh, r.Previous, r.Rotated = came, used, now
}

// saveSuccess writes the record. It must succeed only if there is a refresh token in it that would else be lost.
func (k *Keeper) saveSuccess(ctx context.Context, lease Lease, stored, r Record, a *account, w Wish) error {
	if !w.Credential.Rotates() {
		k.save(ctx, lease, r, a, 1)
		return nil
	}
	a.hold(unsaved{r.Refresh, r.Previous, stored.Refresh})
	must := !r.Refresh.Equal(stored.Refresh) && !r.Refresh.Equal(w.Credential.Refresh)
	if !k.save(ctx, lease, r, a, saveTries) && must {
		return remedy.NoStore()
	}
	a.hold(unsaved{})
	return nil
}

// saveUnsaved writes down the refresh token that the store did not take before, if there is one. It must not be used
// earlier: some providers end the old one with the first use of the new one, and then nothing that is stored would work.
// If another broker has come further meanwhile, the store has a better one.
func (k *Keeper) saveUnsaved(ctx context.Context, lease Lease, r Record, a *account) (Record, error) {
	a.mu.Lock()
	u := a.unsaved
	a.mu.Unlock()
	if u.refresh.Empty() || lease == nil {
		return r, nil
	}
	if r.Refresh.Equal(u.stored) {
		r = r.of(a.version)
		r.Refresh, r.Previous, r.Rotated = u.refresh, u.used, time.Now()
		if !k.save(ctx, lease, r, a, saveTries) {
			return r, remedy.NoStore()
		}
	}
	a.hold(unsaved{})
	return r, nil
}

func (k *Keeper) saveFailure(ctx context.Context, lease Lease, r Record, a *account, w Wish) {
	if f := r.trouble(r.Version, w.Audience, time.Now()); f != nil {
		k.Log.Warn("no token", "credential", w.Credential.Label, "grant", w.Credential.Grant, "class", f.Class,
			"reason", f.Reason, "remedy", f.Remedy, "trace", f.Trace)
	}
	k.save(ctx, lease, r, a, 1)
}

// save writes the record, whether or not its caller still waits, and tells whether the store has it. In this process it
// is remembered in any case.
func (k *Keeper) save(ctx context.Context, lease Lease, r Record, a *account, tries int) bool {
	a.remember(r)
	if lease == nil {
		return false
	}
	ctx = context.WithoutCancel(ctx)
	for n := 1; ; n++ {
		err := k.saveOnce(ctx, lease, r)
		if err == nil {
			return true
		}
		if n == tries || errors.Is(err, ErrLost) {
			k.Log.Warn("record of a credential not saved", "credential", a.id, "error", err)
			a.forgetIf(errors.Is(err, ErrLost))
			return false
		}
		time.Sleep(time.Duration(n) * savePause)
	}
}

func (k *Keeper) saveOnce(ctx context.Context, lease Lease, r Record) error {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	return lease.Save(ctx, r)
}

// forgetIf lets the store be asked at once: another broker has the lease and knows better.
func (a *account) forgetIf(lost bool) {
	if lost {
		a.forget()
	}
}

// quietFor is how long no renewal is started in the background after a failure.
func (k *Keeper) quietFor(err error) time.Duration {
	f := asFault(err)
	if f.Class.Freezes() {
		return k.Recheck
	}
	return min(max(f.After, leastBackoff), k.Recheck)
}
