package simulation

import (
	"context"
	"errors"
	"strings"
	"time"

	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/remedy"
)

const steps = 60

// run is the whole life of a world.
func (w *world) run() {
	w.people()
	for range steps {
		time.Sleep(between(w.script, time.Millisecond, pick(w.script, time.Second, 20*time.Second, w.provider.life/6)))
		if w.failed() {
			break
		}
		w.step()
	}
	w.calm()
	w.recover()
	for _, r := range w.replicas {
		k, _ := r.present()
		k.Close()
	}
	if strings.Contains(w.output.String(), marker) {
		w.fault("a secret was printed")
	}
	time.Sleep(stragglers) // a bubble's time ends with the run, and goroutines that are left then fail it
}

// stragglers is how long after the last of the replicas answers may still be on their way to nobody.
const stragglers = time.Minute

// step lets one thing happen.
func (w *world) step() {
	d := w.script
	r := pick(d, w.replicas...)
	m := pick(d, w.boxes...)
	switch n := d.IntN(100); {
	case n < 46:
		w.callers(1 + d.IntN(6))
	case n < 52:
		w.reject(r, m)
	case n < 54:
		w.check(r, m)
	case n < 57:
		w.reset(r, m.credential)
	case n < 61:
		w.watch(r, m)
	case n < 66:
		w.provider.setStorm(true)
		w.note("provider: storm")
		w.later(between(d, time.Second, 5*time.Minute), func() { w.provider.setStorm(false) })
	case n < 70:
		w.store.setRough(true)
		w.note("store: rough")
		w.later(between(d, time.Second, 3*time.Minute), func() { w.store.setRough(false) })
	case n < 74:
		w.store.setDown(true)
		w.note("store: down")
		w.later(between(d, time.Second, 3*time.Minute), func() { w.store.setDown(false) })
	case n < 78:
		w.store.failover(between(d, 0, 3*time.Second))
	case n < 83:
		r.freeze(between(d, time.Second, time.Minute))
	case n < 87:
		r.crash(between(d, time.Second, 20*time.Second))
	case n < 89:
		r.retire()
	case n < 92:
		w.rollout(m.credential)
	case n < 94:
		w.revoke(m.credential)
		w.later(between(d, time.Second, 5*time.Minute), func() { w.rollout(m.credential) })
	case n < 97:
		w.store.spoil(r.wish(m, 0, 0).Credential.Key(m.audience))
	default:
		v := r.way()
		v.setForeign(true)
		w.later(between(d, time.Second, time.Minute), func() { v.setForeign(false) })
	}
}

// callers ask at nearly the same moment.
func (w *world) callers(n int) {
	for range n {
		r, m := pick(w.script, w.replicas...), pick(w.script, w.boxes...)
		wait, patience := between(w.script, 0, 50*time.Millisecond), between(w.script, time.Second, 40*time.Second)
		w.later(wait, func() { _, _ = r.ask(m, patience, 0) })
	}
}

// reject is a worker whose token a server refused, perhaps an old one, and that asks for a newer one at some replica.
func (w *world) reject(r *replica, m *mailbox) {
	other := pick(w.script, w.replicas...)
	pause, patience := between(w.script, 0, 2*time.Minute), between(w.script, time.Second, 40*time.Second)
	w.running.Go(func() {
		h, err := r.ask(m, patience, 0)
		if err != nil {
			return
		}
		generation := h.Token.Generation + r.skew.Milliseconds()
		time.Sleep(pause)
		k, l := other.present()
		if !l.pass("reject"+m.String()) || !l.admits() {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		wish := other.wish(m, 0, 0)
		out := k.Reject(ctx, wish.Credential, wish.Audience, h.Fingerprint)
		w.note("%s is told that %d of %s is refused: %s", l.name, generation, m, out.Outcome)
		_, _ = other.ask(m, patience, generation)
	})
}

func (w *world) check(r *replica, m *mailbox) {
	w.running.Go(func() {
		k, l := r.present()
		if !l.pass("check"+m.String()) || !l.admits() {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := k.Check(ctx, r.wish(m, m.margin, 0)); err != nil {
			w.referee.refused(r, m, err)
		}
		k.Status(ctx, r.wish(m, 0, 0).Credential, m.audience)
	})
}

// reset is an operator who thinks that the cause is gone.
func (w *world) reset(r *replica, id string) {
	w.running.Go(func() {
		k, l := r.present()
		if !l.pass("reset"+id) || !l.admits() {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		r.mu.Lock()
		c := r.configured[id]
		r.mu.Unlock()
		err := k.Reset(ctx, c)
		w.note("%s resets %s: %v", l.name, id, err)
		w.referee.pardon(id)
	})
}

// watch looks after a token for a while.
func (w *world) watch(r *replica, m *mailbox) {
	k, l := r.present()
	wish, until := r.wish(m, m.margin, 0), between(w.script, time.Second, w.provider.life)
	w.running.Go(func() {
		if !l.pass("watch"+m.String()) || !l.admits() {
			return
		}
		changed := make(chan struct{}, 1)
		watch := k.Watch(wish, func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		})
		defer watch.Stop()
		end := time.NewTimer(until)
		defer end.Stop()
		for {
			select {
			case <-changed:
				w.seen(r, l, m, wish, watch)
			case <-end.C:
				return
			case <-l.dead:
				return
			}
		}
	})
}

func (w *world) seen(r *replica, l *link, m *mailbox, wish keeper.Wish, watch *keeper.Watch) {
	if !l.pass("seen" + m.String()) {
		return
	}
	h, err := watch.Now()
	switch {
	case errors.Is(err, keeper.ErrPending):
	case err != nil:
		w.referee.refused(r, m, err)
	default:
		w.note("%s shows generation %d of %s", l.name, h.Token.Generation+r.skew.Milliseconds(), m)
		w.referee.handed(r, m, wish, h)
	}
}

// rollout enters a new secret, which the replicas take up one after the other.
func (w *world) rollout(id string) {
	w.configure(id)
	w.note("person: configures %s", id)
	for _, r := range w.replicas {
		w.later(between(w.dice(r.name(), "rollout", id), time.Millisecond, 20*time.Second), r.reload)
	}
}

// calm ends every trouble, and lets people mend what they broke.
func (w *world) calm() {
	w.running.Wait()
	w.note("world: all is well")
	for _, id := range w.ids {
		if w.broken(id, w.latest(id).Version) {
			w.configure(id)
		}
	}
	for _, r := range w.replicas {
		r.reload()
	}
	w.provider.setCalm()
}

// recovery is the longest that a caller may have to wait once all is well: the budget of refused tokens is the slowest.
const recovery = 11 * time.Minute

// recover holds that every caller gets a token from every replica.
func (w *world) recover() {
	start := time.Now()
	for _, r := range w.replicas {
		for _, m := range w.boxes {
			w.later(between(w.script, 0, time.Second), func() { w.insist(r, m, start) })
		}
	}
	w.running.Wait()
}

func (w *world) insist(r *replica, m *mailbox, start time.Time) {
	for {
		_, err := r.ask(m, time.Minute, 0)
		var f *remedy.Fault
		if err == nil || errors.As(err, &f) && f.Reason == remedy.LifetimeBelowMargin && m.margin >= w.provider.life {
			return
		}
		if time.Since(start) > recovery || w.failed() {
			w.fault("%s gives no token of %s, %s after all is well: %v", r.name(), m, time.Since(start), err)
			return
		}
		time.Sleep(after(err))
	}
}
