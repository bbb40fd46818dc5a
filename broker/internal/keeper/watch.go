package keeper

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
)

// ErrPending says that a watched token is on its way: there is neither one to hand out nor a reason why not.
var ErrPending = errors.New("the token is on its way")

// A Watch looks after the token of one Wish: while there is one, the token counts as in use and is renewed ahead of its
// expiry, and a failure is tried again when that may help. Stop it when done.
type Watch struct {
	lookout *lookout
	changed func()
}

// Watch begins to look after the token of w; NewerThan means nothing here. changed is called whenever Now would answer
// otherwise, from any goroutine, also before Watch returns and once after Stop. It must return at once and must not call
// the Keeper. Watches of one credential, audience and margin share their work: ten thousand cost a call each when the
// token changes, and nothing in between.
func (k *Keeper) Watch(w Wish, changed func()) *Watch {
	w.NewerThan = 0
	s := k.slot(w)
	l := s.lookout(k, w)
	watch := &Watch{l, changed}
	if l.join(watch) {
		l.look(nil)
	}
	return watch
}

// Now is what Ask would answer, without waiting: a token outside its margin, a *remedy.Fault, or ErrPending.
func (w *Watch) Now() (Handout, error) {
	v := w.lookout.view.Load()
	switch {
	case v == nil:
		return Handout{}, ErrPending
	case v.err != nil:
		return Handout{}, v.err
	case !v.handout.Token.Usable(time.Now(), w.lookout.wish.Margin):
		return Handout{}, ErrPending
	}
	return v.handout, nil
}

// Stop ends the Watch.
func (w *Watch) Stop() { w.lookout.leave(w) }

// lookout looks after one token for all Watches of one margin. It has no goroutine: it acts when its timer fires, when a
// renewal ends, and when another broker changes something.
type lookout struct {
	keeper *Keeper
	slot   *slot
	wish   Wish
	view   atomic.Pointer[view] // nil: nothing known yet

	mu      sync.Mutex
	watches map[*Watch]struct{}
	timer   *time.Timer // the next look; nil before the first
}

// view is what Ask would answer.
type view struct {
	handout Handout
	err     error
}

// same says whether nobody needs to be told.
func (v *view) same(other *view) bool {
	return v != nil && v.handout.Token.Generation == other.handout.Token.Generation &&
		sameFault(v.handout.Warning, other.handout.Warning) && sameError(v.err, other.err)
}

func sameError(a, b error) bool {
	if a == nil || b == nil {
		return a == b
	}
	return sameFault(asFault(a), asFault(b))
}

// sameFault does not mind when to come back: that differs with every look.
func sameFault(a, b *remedy.Fault) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Class == b.Class && a.Reason == b.Reason && a.Remedy == b.Remedy
}

// lookout finds the one of the wish's margin or makes it. It stays with the slot: few margins are in use.
func (s *slot) lookout(k *Keeper, w Wish) *lookout {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.lookouts[w.Margin]; l != nil {
		return l
	}
	if s.lookouts == nil {
		s.lookouts = map[time.Duration]*lookout{}
		s.account.follow(s)
	}
	l := &lookout{keeper: k, slot: s, wish: w, watches: map[*Watch]struct{}{}}
	s.lookouts[w.Margin] = l
	return l
}

// join tells whether w is the first one, so that somebody must look.
func (l *lookout) join(w *Watch) (first bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watches[w] = struct{}{}
	return len(l.watches) == 1
}

// leave stops looking with the last Watch. What was seen is forgotten: the next one must not be told old news.
func (l *lookout) leave(w *Watch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.watches, w)
	if len(l.watches) > 0 {
		return
	}
	l.view.Store(nil)
	if l.timer != nil {
		l.timer.Stop()
	}
}

// look works out what Ask would answer, tells who watches if that changed, and sees to what comes next: a renewal, or
// the next look. ended is the renewal that has just ended, or nil.
func (l *lookout) look(ended *flight) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.watches) == 0 || l.keeper.root.Err() != nil {
		return
	}
	now := time.Now()
	v, next := l.judge(ended, now)
	if next > 0 {
		l.again(next)
	}
	if v == nil {
		return
	}
	if old := l.view.Swap(v); old.same(v) {
		return
	}
	for w := range l.watches {
		w.changed()
	}
}

// again sets the timer for the next look; l.mu is held.
func (l *lookout) again(next time.Duration) {
	if l.timer == nil {
		l.timer = time.AfterFunc(next, func() { l.look(nil) })
		return
	}
	l.timer.Reset(next)
}

const (
	leastLook = time.Second     // between two looks of the timer
	blindLook = 5 * time.Minute // at a failure that only news can end: the news may get lost
)

// judge is what Ask would answer, nil while a renewal must tell, and when to look again, 0 = when that ends.
func (l *lookout) judge(ended *flight, now time.Time) (*view, time.Duration) {
	need := want{margin: l.wish.Margin}
	h := l.slot.held.Load()
	if need.satisfiedBy(h, now) {
		return &view{handout: l.keeper.present(l.slot, l.wish, h, now)}, l.untilDue(h, now)
	}
	err := l.failure(need, h, ended, now)
	if err == nil {
		l.keeper.join(l.slot, l.wish, need)
		return nil, 0
	}
	return &view{err: err}, l.untilRetry(asFault(err))
}

// untilDue is when a token in memory needs somebody again: at its renew-ahead point, or, while its renewal fails, as soon
// as another may be started, and at its margin in any case.
func (l *lookout) untilDue(h *held, now time.Time) time.Duration {
	next := h.token.RenewAt(l.wish.Margin, h.jitter).Sub(now)
	if next <= 0 {
		next = time.Unix(0, l.slot.quiet.Load()).Sub(now)
	}
	return max(min(next, h.token.UsableUntil(l.wish.Margin).Sub(now)), leastLook)
}

// failure is why there is no token, nil if that has to be found out.
func (l *lookout) failure(need want, h *held, ended *flight, now time.Time) error {
	if h != nil {
		if f := h.tooShort(need.margin, now); f != nil {
			return f
		}
	}
	switch {
	case ended == nil || !ended.want.covers(need):
		return nil
	case ended.err != nil:
		return ended.err
	case ended.got != nil:
		return remedy.ShortLived(ended.got.token.Life(), need.margin)
	}
	return nil
}

// untilRetry spreads the looks at what many tokens have in common: a provider that is away.
func (l *lookout) untilRetry(f *remedy.Fault) time.Duration {
	next := max(f.After, leastLook)
	if f.Class.Freezes() {
		next = max(f.After, blindLook)
	}
	return next + time.Duration(l.keeper.Chance()*float64(next/4))
}

// present is fromMemory for one who only looks: it starts what is due and counts nothing.
func (k *Keeper) present(s *slot, w Wish, h *held, now time.Time) Handout {
	if h.token.ZoneAt(now, w.Margin, h.jitter) == token.RenewSoon || s.epoch.Load() != s.account.epoch.Load() {
		k.renewBehind(s, w, h, now)
	}
	return s.describe(w, h, FromMemory)
}

// news lets all who watch the slot's token look; ended is as for look.
func (s *slot) news(ended *flight) {
	s.mu.Lock()
	all := make([]*lookout, 0, len(s.lookouts))
	for _, l := range s.lookouts {
		all = append(all, l)
	}
	s.mu.Unlock()
	for _, l := range all {
		l.look(ended)
	}
}

// follow lets the slot hear what other brokers change.
func (a *account) follow(s *slot) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.watched = append(a.watched, s)
}

// stir lets all who watch a token of the account look.
func (a *account) stir() {
	a.mu.Lock()
	watched := a.watched
	a.mu.Unlock()
	for _, s := range watched {
		s.news(nil)
	}
}
