package keeper

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
)

// Status tells how a credential does for an audience. It never asks the provider; the store is asked when what is known
// is older than Config.Recheck, and not waited for longer than a few seconds.
func (k *Keeper) Status(ctx context.Context, c *token.Credential, aud token.Audience) Status {
	s := k.slot(Wish{Credential: c, Audience: aud})
	a, now := s.account, time.Now()
	r, young := a.record(k.Recheck)
	var err error
	if !young {
		var fresh Record
		if fresh, err = k.load(ctx, a); err == nil {
			r = fresh
		}
	}
	st := Status{State: Unknown, Minted: r.Minted, Mints: s.mints.Load()}
	h := s.held.Load()
	usable := h != nil && h.token.Usable(now, 0)
	if h != nil {
		st.Generation, st.Expires = h.token.Generation, h.token.Expires
	}
	st.Due = a.due(c, r, now)
	st.judge(r, a, aud, usable, now)
	if errors.Is(err, ErrSealed) && c.Rotates() {
		st.Fault, st.State = remedy.Sealed(), Frozen
		if usable {
			st.State = Degraded
		}
	}
	return st
}

func (st *Status) judge(r Record, a *account, aud token.Audience, usable bool, now time.Time) {
	if r = a.ours(r); r.trouble(a.version, aud, now) != nil {
		st.Fault = r.trouble(a.version, aud, now)
		st.Since, st.Failures, st.NextTry = r.Since, r.Failures, r.Hold
	} else {
		st.Fault = r.suppressed(now)
	}
	switch {
	case st.Fault != nil && usable:
		st.State = Degraded
	case st.Fault != nil && st.Fault.Class.Freezes():
		st.State = Frozen
	case st.Fault != nil:
		st.State = Waiting
	case usable || !r.Minted.IsZero():
		st.State = Ready
	}
}

// Reset ends a freeze and every pause: a person says that the cause is gone. The next Ask tries again.
func (k *Keeper) Reset(ctx context.Context, c *token.Credential) error {
	a := k.account(c)
	select {
	case <-a.turn:
		defer func() { a.turn <- struct{}{} }()
	case <-ctx.Done():
		return fmt.Errorf("reset %s: %w", c.Label, context.Cause(ctx))
	}
	lease, err := k.lease(ctx, a)
	if errors.Is(err, ErrSealed) {
		lease, err = k.leaseAnew(ctx, a, c)
	}
	if err != nil {
		return fmt.Errorf("reset %s: %w", c.Label, err)
	}
	defer k.release(lease, a)
	r := lease.Record().of("") // as if it were another version: every failure is forgotten
	r.Version, r.Changed, r.Forced = c.Version, time.Now(), nil
	if err := k.saveOnce(ctx, lease, r); err != nil {
		return fmt.Errorf("reset %s: %w", c.Label, err)
	}
	a.remember(r)
	a.stir()
	return nil
}

// leaseAnew puts a record aside that does not open, and takes the lease of the empty one.
func (k *Keeper) leaseAnew(ctx context.Context, a *account, c *token.Credential) (Lease, error) {
	s, ok := k.Credentials.(Shelver)
	if !ok {
		return nil, ErrSealed
	}
	if err := s.Shelve(ctx, a.id); err != nil {
		return nil, err
	}
	k.Log.Warn("a stored credential that does not open was put aside, as an operator wished; it begins anew with what is configured", "credential", c.Label)
	return k.lease(ctx, a)
}
