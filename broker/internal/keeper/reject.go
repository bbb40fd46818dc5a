package keeper

import (
	"context"
	"time"

	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
	"mailporter/kit/secret"
)

const (
	forcedBudget = 3                // renewals forced by refused tokens, per credential
	forcedWindow = 10 * time.Minute // within this
)

// force takes one forced renewal from the budget and returns 0, or how long there is none.
func (a *account) force(now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if pause := a.pause(now); pause > 0 {
		return pause
	}
	a.forced = append(a.forced, now)
	return 0
}

// pause is how long the budget is used up; the caller holds a.mu.
func (a *account) pause(now time.Time) time.Duration {
	for len(a.forced) > 0 && now.Sub(a.forced[0]) >= forcedWindow {
		a.forced = a.forced[1:]
	}
	if len(a.forced) < forcedBudget {
		return 0
	}
	return forcedWindow - now.Sub(a.forced[0])
}

// suppressed is the fault while servers refuse fresh tokens, or nil.
func (a *account) suppressed(now time.Time) *remedy.Fault {
	a.mu.Lock()
	defer a.mu.Unlock()
	if pause := a.pause(now); pause > 0 {
		return remedy.FreshRefused(pause)
	}
	return nil
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
