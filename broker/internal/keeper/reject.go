package keeper

import (
	"context"
	"slices"
	"time"

	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
	"mailporter/kit/secret"
)

const (
	forcedBudget = 3                // renewals forced by refused tokens, per credential and fleet
	forcedWindow = 10 * time.Minute // within this
)

// force takes one forced renewal from the fleet's budget, or says how long there is none.
func (r *Record) force(now time.Time) (pause time.Duration) {
	recent := slices.DeleteFunc(slices.Clone(r.Forced), func(t time.Time) bool { return now.Sub(t) >= forcedWindow })
	if len(recent) >= forcedBudget {
		return forcedWindow - now.Sub(recent[0])
	}
	r.Forced = append(recent, now)
	return 0
}

// suppressed is the fault while servers refuse fresh tokens, or nil.
func (r Record) suppressed(now time.Time) *remedy.Fault {
	if pause := r.force(now); pause > 0 { // of a copy: nothing is taken
		return remedy.FreshRefused(pause)
	}
	return nil
}

// suppressed goes by what this process knows of the record.
func (a *account) suppressed(now time.Time) *remedy.Fault {
	r, _ := a.record(0)
	return r.suppressed(now)
}

// Reject takes the report that a mail server refused a token. One that is not the current token costs nothing. The
// current one is replaced, in the background, and goes on serving those whom it suits: it may be one mailbox that is at
// fault, not the token of the ten thousand others.
func (k *Keeper) Reject(ctx context.Context, c *token.Credential, a token.Audience, refused secret.Fingerprint) Rejection {
	w := Wish{Credential: c, Audience: a}
	s := k.slot(w)
	h := s.held.Load()
	if h == nil {
		h = k.look(ctx, s)
	}
	out := k.judge(s, w, h, refused)
	k.meters.rejected(out.Outcome)
	return out
}

func (k *Keeper) judge(s *slot, w Wish, h *held, refused secret.Fingerprint) Rejection {
	if h == nil {
		return Rejection{Outcome: AlreadyReplaced}
	}
	out := Rejection{Outcome: AlreadyReplaced, Generation: h.token.Generation}
	if h.fingerprint != refused {
		return out
	}
	if f := s.account.suppressed(time.Now()); f != nil {
		out.Outcome, out.Fault = Suppressed, f
		return out
	}
	k.join(s, w, want{newer: h.token.Generation})
	out.Outcome = Replacing
	return out
}
