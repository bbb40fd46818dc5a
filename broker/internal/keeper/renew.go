package keeper

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mailporter/broker/internal/remedy"
)

// renew brings a token that satisfies need: out of the cache if another broker put it there, else from the provider
// under the credential's lease. It runs once per slot at a time.
func (k *Keeper) renew(ctx context.Context, s *slot, w Wish, need want) (*held, error) {
	a := s.account
	if r, young := a.record(k.Recheck); young && s.looked.Load() {
		if f := a.ours(r).block(a.version, w.Audience, time.Now()); f != nil {
			return nil, f
		}
	}
	for {
		h := k.look(ctx, s)
		if need.satisfiedBy(h, time.Now()) {
			return h, nil
		}
		if ctx.Err() != nil {
			return nil, givenUp(ctx)
		}
		if !need.forced && need.refusedBy(h, time.Now()) {
			need.forced = true
			if f := a.suppressed(time.Now()); f != nil {
				return nil, f
			}
		}
		news := a.news() // before the lease is asked for: its release must not be missed
		h, err := k.renewInTurn(ctx, s, w, need)
		if !errors.Is(err, ErrLeased) {
			return h, err
		}
		if err := k.waitForOther(ctx, news); err != nil {
			return nil, err
		}
	}
}

// look takes what the cache has into memory. No error of the cache stops anything.
func (k *Keeper) look(ctx context.Context, s *slot) *held {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	t, err := k.Cache.Get(ctx, s.key)
	s.looked.Store(true)
	switch {
	case errors.Is(err, ErrSealed):
		k.meters.sealed.Inc()
		k.Log.Error("a cached token does not open with the keyset", "credential", s.key.Credential)
	case err != nil && ctx.Err() == nil:
		k.Log.Warn("token cache does not answer", "error", err)
	}
	if err != nil {
		return s.held.Load()
	}
	return s.offer(t, FromCache)
}

// renewInTurn takes the lease, one flight of this process at a time: audiences of one credential would else wait for
// each other as if they were two brokers.
func (k *Keeper) renewInTurn(ctx context.Context, s *slot, w Wish, need want) (*held, error) {
	a := s.account
	select {
	case <-a.turn:
		defer func() { a.turn <- struct{}{} }()
	case <-ctx.Done():
		return nil, givenUp(ctx)
	}
	asked := time.Now()
	lease, err := k.lease(ctx, a)
	switch {
	case err == nil:
		// The store counts from some moment after asked; its answer may be late, this process frozen in between.
		ctx, cancel := context.WithDeadline(ctx, asked.Add(k.LeaseTime-leaseGrace))
		defer cancel()
		return k.renewLeased(ctx, lease, s, w, need)
	case errors.Is(err, ErrLeased):
		return nil, err
	case errors.Is(err, ErrSealed):
		k.meters.sealed.Inc()
		k.Log.Error("a stored credential does not open with the keyset", "credential", w.Credential.Label, "remedy", remedy.Sealed().Remedy)
		if w.Credential.Rotates() { // the configured one would overwrite a newer one that only a keyset is missing for
			return nil, remedy.Sealed()
		}
	default:
		k.Log.Warn("credential store does not answer", "error", err)
	}
	if w.Credential.Rotates() {
		return nil, remedy.NoStore()
	}
	return k.renewAlone(ctx, s, w, need)
}

func (k *Keeper) lease(ctx context.Context, a *account) (Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	return k.Credentials.Lease(ctx, a.id, k.LeaseTime)
}

// renewLeased mints unless another broker was faster, and lets the fleet know what came of it. ctx ends before the lease
// does.
func (k *Keeper) renewLeased(ctx context.Context, lease Lease, s *slot, w Wish, need want) (*held, error) {
	defer k.release(lease, s.account)
	r := k.catchUp(ctx, lease, s.account, w)
	if h := k.look(ctx, s); need.satisfiedBy(h, time.Now()) {
		return h, nil
	}
	if f := s.account.ours(r).block(s.key.Version, w.Audience, time.Now()); f != nil {
		return nil, f
	}
	if ctx.Err() != nil {
		return nil, ErrLeased // it is too late for a request: as if another broker had been faster
	}
	return k.mint(ctx, lease, r, s, w, need)
}

// catchUp is the record to go by: the lease's, or what this broker learned after it while the store was away. The provider's
// wish for a pause, or a refused password, does not end with the store's trouble. The fleet is told.
func (k *Keeper) catchUp(ctx context.Context, lease Lease, a *account, w Wish) Record {
	r := lease.Record()
	own, _ := a.record(0)
	worse := own.Frozen != nil || r.Frozen == nil && own.Hold.After(r.Hold)
	if w.Credential.Rotates() || own.Version != a.version || !own.Changed.After(r.Changed) || !worse {
		a.remember(r)
		return r
	}
	k.save(ctx, lease, own, a, 1)
	return own
}

// renewAlone mints without the fleet: the store is away. What fails is remembered in this process.
func (k *Keeper) renewAlone(ctx context.Context, s *slot, w Wish, need want) (*held, error) {
	ctx, cancel := context.WithTimeout(ctx, k.LeaseTime-leaseGrace)
	defer cancel()
	r, _ := s.account.record(0)
	if f := s.account.ours(r).block(s.key.Version, w.Audience, time.Now()); f != nil {
		return nil, f
	}
	return k.mint(ctx, nil, r, s, w, need)
}

// release outlives the flight: a lease that is kept makes every other broker wait.
func (k *Keeper) release(lease Lease, a *account) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(k.root), storeTime)
	defer cancel()
	if err := lease.Release(ctx); err != nil && !errors.Is(err, ErrLost) {
		k.Log.Warn("lease not released, it will lapse", "credential", a.id, "error", err)
	}
}

// waitForOther waits for news of the broker that holds the lease, or a while.
func (k *Keeper) waitForOther(ctx context.Context, news <-chan struct{}) error {
	t := time.NewTimer(time.Duration((0.5 + k.Chance()) * float64(pollTime)))
	defer t.Stop()
	select {
	case <-news:
	case <-t.C:
	case <-ctx.Done():
		return givenUp(ctx)
	}
	return nil
}

// load reads the record anew.
func (k *Keeper) load(ctx context.Context, a *account) (Record, error) {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	r, err := k.Credentials.Load(ctx, a.id)
	if err == nil {
		a.remember(r)
	}
	return r, err
}

// givenUp is the fault of a renewal that ran out of time, or of a broker that ends.
func givenUp(ctx context.Context) error {
	return remedy.FromError(remedy.About{}, fmt.Errorf("renew: %w", context.Cause(ctx)))
}
