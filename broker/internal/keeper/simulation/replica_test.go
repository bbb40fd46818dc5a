package simulation

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
)

// replica is one broker of the fleet, through all its lives.
type replica struct {
	w      *world
	number int
	skew   time.Duration

	mu         sync.Mutex
	life       int
	link       *link
	view       *view
	keeper     *keeper.Keeper
	configured map[string]*token.Credential
}

func (r *replica) name() string { return fmt.Sprintf("r%d", r.number) }

// start begins a life with an empty memory.
func (r *replica) start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.life++
	r.link = newLink(r.w, fmt.Sprintf("r%d.%d", r.number, r.life))
	r.view = r.w.store.view(r.link, r.skew)
	name := r.link.name
	r.keeper = keeper.New(keeper.Config{
		Grants: map[token.Provider]keeper.Grant{token.Microsoft: &grant{r.w.provider, r.link}}, Cache: r.view, Credentials: r.view,
		Log: slog.New(slog.NewTextHandler(&r.w.output, nil)), Chance: func() float64 { return r.w.dice(name, "chance").Float64() },
	})
	r.w.note("%s starts", name)
}

// present is the life that goes on.
func (r *replica) present() (*keeper.Keeper, *link) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.keeper, r.link
}

// crash ends a life at once, and begins another.
func (r *replica) crash(pause time.Duration) {
	k, l := r.present()
	if l.isDead() {
		return
	}
	r.w.note("%s crashes", l.name)
	close(l.dead)
	r.w.running.Go(k.Close)
	r.w.later(pause, r.start)
}

// retire ends a life in order, and begins another: a rolling update. Callers go elsewhere before the Keeper is closed.
func (r *replica) retire() {
	k, l := r.present()
	if l.isDead() || !l.admits() {
		return
	}
	r.w.note("%s ends", l.name)
	l.drain()
	pause := between(r.w.script, time.Second, 10*time.Second)
	r.w.running.Go(func() {
		time.Sleep(pause)
		k.Close()
		time.Sleep(between(r.w.dice(l.name, "end"), time.Millisecond, 10*time.Millisecond)) // for the last answers
		if _, now := r.present(); now == l && !l.isDead() {
			close(l.dead)
			r.start()
		}
	})
}

// freeze stops a process for a while.
func (r *replica) freeze(d time.Duration) {
	_, l := r.present()
	r.w.note("%s freezes for %s", l.name, d)
	l.freeze()
	r.w.later(d, l.unfreeze)
}

// reload takes up the newest configuration.
func (r *replica) reload() {
	k, l := r.present()
	if !l.pass("reload") {
		return
	}
	r.mu.Lock()
	live := map[string]string{}
	for _, id := range r.w.ids {
		r.configured[id] = r.w.latest(id)
		live[id] = r.configured[id].Version
	}
	r.mu.Unlock()
	r.w.note("%s reloads", l.name)
	k.Retire(func(id, version string) bool { return live[id] == version })
}

func (r *replica) wish(m *mailbox, margin time.Duration, newer int64) keeper.Wish {
	r.mu.Lock()
	defer r.mu.Unlock()
	if newer > 0 {
		newer -= r.skew.Milliseconds()
	}
	return keeper.Wish{Credential: r.configured[m.credential], Audience: m.audience, Margin: margin, NewerThan: newer}
}

// ask is one caller. newer and the generation that it gets are in true time.
func (r *replica) ask(m *mailbox, patience time.Duration, newer int64) (keeper.Handout, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	k, l := r.present()
	if !l.pass(fmt.Sprint("ask", m, patience)) || !l.admits() {
		return keeper.Handout{}, errDead
	}
	w := r.wish(m, m.margin, newer)
	h, err := k.Ask(ctx, w)
	if l.isDead() {
		return keeper.Handout{}, errDead // nobody hears the answer
	}
	if err != nil {
		r.w.note("%s refuses %s: %v", l.name, m, err)
		r.w.referee.refused(r, m, err)
		return h, err
	}
	r.w.note("%s hands out generation %d of %s from %s", l.name, h.Token.Generation+r.skew.Milliseconds(), m, h.Source)
	r.w.referee.handed(r, m, w, h)
	return h, nil
}

// after is how long a caller waits that was refused.
func after(err error) time.Duration {
	var f *remedy.Fault
	if errors.As(err, &f) {
		return max(f.After, time.Second)
	}
	return time.Second
}

// way is the present life's way to the store.
func (r *replica) way() *view {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.view
}
