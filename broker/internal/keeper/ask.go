package keeper

import (
	"context"
	"fmt"
	"time"

	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
)

// Ask hands out a token that stays valid for more than w.Margin. It answers from memory while it can, starts renewals
// ahead of the expiry in the background, and waits for one, until ctx ends, when it must. The error is a *remedy.Fault,
// or wraps that of ctx; the renewal goes on without the caller.
func (k *Keeper) Ask(ctx context.Context, w Wish) (Handout, error) {
	s, now := k.slot(w), time.Now()
	h := s.held.Load()
	need := want{margin: w.Margin, newer: w.newer(h, now)}
	if need.satisfiedBy(h, now) {
		return k.fromMemory(s, w, h, now), nil
	}
	h, err := k.await(ctx, s, w, need)
	if err != nil {
		k.meters.refused(err)
		return Handout{}, err
	}
	return k.handout(s, w, h, h.source), nil
}

// newer bounds NewerThan by what any broker can have handed out: no caller may drive the numbers up.
func (w Wish) newer(h *held, now time.Time) int64 {
	most := now.UnixMilli()
	if h != nil {
		most = max(most, h.token.Generation)
	}
	return min(w.NewerThan, most)
}

// fromMemory is the way of nearly every call: no lock, no I/O.
func (k *Keeper) fromMemory(s *slot, w Wish, h *held, now time.Time) Handout {
	if h.token.ZoneAt(now, w.Margin, h.jitter) == token.RenewSoon || s.epoch.Load() != s.account.epoch.Load() {
		k.renewBehind(s, w, h, now)
	}
	return k.handout(s, w, h, FromMemory)
}

func (k *Keeper) handout(s *slot, w Wish, h *held, from Source) Handout {
	k.meters.handout(from)
	return s.describe(w, h, from)
}

func (s *slot) describe(w Wish, h *held, from Source) Handout {
	return Handout{
		Token: h.token, Fingerprint: h.fingerprint, UsableUntil: h.token.UsableUntil(w.Margin), RenewAt: h.token.RenewAt(w.Margin, h.jitter),
		Warning: s.warning(h), Source: from,
	}
}

// warning is set while the renewal of a token that is due fails.
func (s *slot) warning(h *held) *remedy.Fault {
	r := &s.account.known.Load().record
	if r.Last == nil && r.Frozen == nil && r.Barred == nil {
		return nil
	}
	if !r.Since.IsZero() && h.token.Sent.After(r.Since) {
		return nil
	}
	return r.trouble(s.key.Version, s.key.Audience, time.Now())
}

// renewBehind starts a renewal that nobody waits for, unless one is under way or the last one failed just now.
func (k *Keeper) renewBehind(s *slot, w Wish, h *held, now time.Time) {
	due := h.token.ZoneAt(now, w.Margin, h.jitter) == token.RenewSoon
	epoch := s.account.epoch.Load()
	if s.epoch.Swap(epoch) == epoch && now.UnixNano() < s.quiet.Load() {
		return
	}
	need := want{margin: w.Margin, ahead: true}
	if due {
		need.newer = h.token.Generation
	}
	k.join(s, w, need)
}

// await joins renewals until one brings what is needed, one fails, or the caller's time is over.
func (k *Keeper) await(ctx context.Context, s *slot, w Wish, need want) (*held, error) {
	if h := s.held.Load(); h != nil {
		if f := h.tooShort(need.margin, time.Now()); f != nil {
			return nil, f
		}
	}
	for {
		f := k.join(s, w, need)
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for a token: %w", context.Cause(ctx))
		}
		switch h := s.held.Load(); {
		case need.satisfiedBy(h, time.Now()):
			return h, nil
		case !f.want.covers(need): // it served somebody who wanted less
		case f.err != nil:
			return nil, f.err
		default:
			return nil, remedy.ShortLived(f.got.token.Life(), need.margin)
		}
	}
}

// shortPause is the least time between two tries for a token that outlives its margin.
const shortPause = time.Minute

// tooShort: the provider's tokens live no longer than the margin, as this one shows; asking again at once would be a loop.
func (h *held) tooShort(margin time.Duration, now time.Time) *remedy.Fault {
	pause := max(h.token.Life()*3/4, shortPause)
	if !h.token.BornInside(margin) || now.Sub(h.token.Sent) >= pause {
		return nil
	}
	return remedy.ShortLived(h.token.Life(), margin)
}

// covers says whether a renewal for w would have served other too.
func (w want) covers(other want) bool {
	return w.margin >= other.margin && w.newer >= other.newer
}

// join is the renewal under way, or a new one.
func (k *Keeper) join(s *slot, w Wish, need want) *flight {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight != nil {
		return s.flight
	}
	f := &flight{done: make(chan struct{}), want: need}
	if !k.begin(func() { k.fly(s, w, f) }) {
		f.err = givenUp(k.root)
		close(f.done)
		return f
	}
	s.flight = f
	return f
}

// begin runs f in the background, unless the Keeper is closed.
func (k *Keeper) begin(f func()) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.root.Err() != nil {
		return false
	}
	k.running.Go(f)
	return true
}

// fly renews on its own time: the callers may all be gone.
func (k *Keeper) fly(s *slot, w Wish, f *flight) {
	ctx, cancel := context.WithTimeout(k.root, k.FlightTime)
	defer cancel()
	start := time.Now()
	f.got, f.err = k.renew(ctx, s, w, f.want)
	k.meters.flown(w.Credential, start)
	if f.err != nil {
		s.quiet.Store(time.Now().Add(k.quietFor(f.err)).UnixNano())
	}
	s.mu.Lock()
	s.flight = nil
	s.mu.Unlock()
	close(f.done)
	s.news(f)
}
