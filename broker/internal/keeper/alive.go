package keeper

import (
	"context"
	"time"

	"mailporter/broker/internal/token"
)

// KeepAlive uses the refresh tokens that nobody has used for every, so that they do not die of idleness: Entra ends them
// after 90 days, Google after six months. It runs until ctx ends. all gives a wish for each credential that is configured;
// those that hold no refresh token are passed over. Each token has a moment of its own within the time, and one broker of
// a fleet does it: the others see that it was done.
func (k *Keeper) KeepAlive(ctx context.Context, every time.Duration, all func() []Wish) {
	started := time.Now()
	tick := time.NewTicker(max(every/rounds, time.Second))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for _, w := range all() {
			if w.Credential.Rotates() && k.idle(ctx, w, every, started) {
				k.keepAlive(ctx, w)
			}
			if ctx.Err() != nil {
				return
			}
		}
	}
}

const (
	rounds      = 96   // looks within the time
	aliveSpread = 0.25 // of the time: how much earlier than after all of it a token may be used
)

// idle says whether a refresh token's time has come. One that was never used has its moment within the first round.
func (k *Keeper) idle(ctx context.Context, w Wish, every time.Duration, started time.Time) bool {
	a := k.account(w.Credential)
	r, young := a.record(every / rounds)
	if !young {
		var err error
		if r, err = k.load(ctx, a); err != nil {
			return false // without the store a rotated token could not be saved
		}
	}
	now := time.Now()
	if a.ours(r).block(a.version, w.Audience, now) != nil {
		return false
	}
	early := token.Spread(token.Key{Credential: a.id}, 0)
	if r.Minted.IsZero() {
		return now.Sub(started) >= share(every, early)
	}
	return now.Sub(r.Minted) >= share(every, 1-aliveSpread*early)
}

func share(d time.Duration, of float64) time.Duration { return time.Duration(float64(d) * of) }

// keepAlive brings a token that nobody asked for. What is wrong with it is in the log and the status, as always.
func (k *Keeper) keepAlive(ctx context.Context, w Wish) {
	ctx, cancel := context.WithTimeout(ctx, k.FlightTime)
	defer cancel()
	if _, err := k.await(ctx, k.slot(w), w, want{margin: w.Margin, ahead: true}); err == nil {
		k.Log.Debug("an idle refresh token was used", "credential", w.Credential.Label)
	}
}
