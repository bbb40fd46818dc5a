package simulation

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
	"mailporter/kit/secret"
)

// exchangeTime bounds one exchange with the provider, as the Grants' HTTP client does.
const exchangeTime = 10 * time.Second

// provider is whom all replicas ask.
type provider struct {
	w *world

	mu        sync.Mutex
	truths    map[string]*truth
	throttled map[string]time.Time // by credential: no earlier request is welcome
	storm     bool
	calm      bool
	life      time.Duration
	renewIn   time.Duration
	issued    map[secret.Fingerprint]issue
	serial    int
}

// issue is what the provider knows about an access token.
type issue struct {
	key     token.Key
	sent    time.Time // when the request was sent
	expires time.Time // counted from the provider's answer: never before what the broker may count
	life    time.Duration
	refresh secret.String // that came with it, or none
}

func newProvider(w *world) *provider {
	return &provider{w: w, truths: map[string]*truth{}, throttled: map[string]time.Time{}, issued: map[secret.Fingerprint]issue{}}
}

func (p *provider) setStorm(storm bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.storm = storm
}

func (p *provider) find(value secret.String) (issue, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i, ok := p.issued[value.Fingerprint()]
	return i, ok
}

// with runs f on what is true of a credential.
func (p *provider) with(id string, f func(*truth)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(p.truths[id])
}

// grant is one replica's way to the provider: a keeper.Grant.
type grant struct {
	provider *provider
	link     *link
}

// weather is how one exchange goes.
type weather struct {
	passage
	think     time.Duration // at the provider
	status    int           // 429 or 5xx in place of an answer; 0 = as is
	after     time.Duration // with 429
	broken    bool          // the request never arrives
	stillborn bool
	life      time.Duration // of this token; 0 = as usual
}

func (p *provider) weather(l *link, id string, a token.Audience) weather {
	d := p.w.dice(l.name, "mint", id, string(a))
	p.mu.Lock()
	storm, calm := p.storm, p.calm
	p.mu.Unlock()
	w := weather{passage: passage{who: "mint" + id + string(a), there: between(d, time.Millisecond, 40*time.Millisecond), back: between(d, time.Millisecond, 40*time.Millisecond), prompt: d.IntN(2) == 0},
		think: between(d, 5*time.Millisecond, 500*time.Millisecond)}
	w.stillborn = !calm && d.IntN(40) == 0
	if !calm && d.IntN(30) == 0 {
		w.life = between(d, 30*time.Second, 3*time.Minute)
	}
	if storm {
		w.strike(d.IntN(10), between(d, 0, 90*time.Second), between(d, 0, 2*exchangeTime))
	}
	return w
}

// strike lets something go wrong.
func (w *weather) strike(how int, after, slow time.Duration) {
	switch how {
	case 0:
		w.status, w.after = 429, after.Round(time.Second)
	case 1:
		w.status = 429
	case 2, 3:
		w.status = 503
	case 4:
		w.broken, w.reset = true, true
	case 5:
		w.reset = true // the answer is lost, after all was done
	case 6:
		w.lost = true
	case 7, 8:
		w.think = slow
	}
}

// Mint is part of keeper.Grant.
func (g *grant) Mint(ctx context.Context, c token.Credential, refresh secret.String, a token.Audience) (keeper.Minted, error) {
	p := g.provider
	if !g.link.pass("mint" + c.ID + string(a)) {
		return keeper.Minted{}, remedy.FromError(remedy.About{}, errDead)
	}
	if err := ctx.Err(); err != nil {
		return keeper.Minted{}, remedy.FromError(remedy.About{}, err)
	}
	sent, how := time.Now(), p.weather(g.link, c.ID, a)
	bound, cancel := context.WithTimeout(ctx, exchangeTime)
	defer cancel()
	deadline, _ := bound.Deadline()
	ends := sent.Add(how.there + how.think + how.back)
	if how.lost || ends.After(deadline) {
		ends = deadline
	}
	p.w.referee.requested(request{link: g.link, credential: &c, audience: a, refresh: refresh, sent: sent, ends: ends, deadline: deadline})
	there := how.passage
	there.there += how.think
	m, err := trip(bound, g.link, there, func() (keeper.Minted, error) { return p.answer(how, c, refresh, a, sent) })
	f := g.fault(err)
	p.w.referee.answered(g.link, c.ID, c.Version, f)
	if f != nil {
		p.w.note("provider: %s gets no token for %s: %s", g.link.name, c.ID, f)
		return keeper.Minted{}, f
	}
	p.w.note("provider: %s gets a token for %s", g.link.name, c.ID)
	return m, nil
}

// fault is what a Grant makes of an error, nil for nil.
func (g *grant) fault(err error) *remedy.Fault {
	if err == nil {
		return nil
	}
	if f, ok := err.(*remedy.Fault); ok {
		return f
	}
	return remedy.FromError(remedy.About{}, err)
}

// answer is what the provider does with a request that arrived.
func (p *provider) answer(how weather, c token.Credential, refresh secret.String, a token.Audience, sent time.Time) (keeper.Minted, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if how.broken {
		return keeper.Minted{}, errReset
	}
	if how.status != 0 {
		return keeper.Minted{}, p.overload(how, c.ID)
	}
	if until := p.throttled[c.ID]; until.After(time.Now()) {
		return keeper.Minted{}, throttling(time.Until(until).Round(time.Second) + time.Second)
	}
	t := p.truths[c.ID]
	if f := t.judge(c, refresh.Reveal()); f != nil {
		p.w.note("provider: %s is refused, refresh token %s", c.ID, ordinal(refresh))
		return keeper.Minted{}, f
	}
	return p.issue(how, t, c, refresh, a, sent), nil
}

func (p *provider) overload(how weather, id string) *remedy.Fault {
	if how.status != 429 {
		return &remedy.Fault{Class: remedy.Transient, Reason: remedy.Unavailable, Status: how.status, Remedy: "Nobody must act."}
	}
	if how.after > 0 {
		p.throttled[id] = time.Now().Add(how.after)
	}
	return throttling(how.after)
}

func throttling(after time.Duration) *remedy.Fault {
	return &remedy.Fault{Class: remedy.Throttled, Reason: remedy.Throttling, Status: 429, After: after, Remedy: "Nobody must act."}
}

// issue makes the token, and rotates the refresh token with it; p.mu is held.
func (p *provider) issue(how weather, t *truth, c token.Credential, refresh secret.String, a token.Audience, sent time.Time) keeper.Minted {
	p.serial++
	life, renewIn := p.life, p.renewIn
	if how.life > 0 {
		life, renewIn = how.life, 0
	}
	m := keeper.Minted{Refresh: t.rotate(refresh.Reveal(), how.stillborn)}
	if !m.Refresh.Empty() {
		p.w.note("provider: %s has used refresh token %s and made %s", c.ID, ordinal(refresh), ordinal(m.Refresh))
	}
	m.Token = token.Token{Value: secret.New(fmt.Sprintf("%s-access-%d", marker, p.serial)), Sent: sent, Expires: sent.Add(life), RenewIn: renewIn}
	p.issued[m.Token.Value.Fingerprint()] = issue{key: c.Key(a), sent: sent, expires: time.Now().Add(life), life: life, refresh: m.Refresh}
	return m
}

// setCalm: from now on nothing goes wrong.
func (p *provider) setCalm() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.storm, p.calm = false, true
}

// ordinal is a secret's number, which is none.
func ordinal(s secret.String) string {
	v := s.Reveal()
	return "#" + v[strings.LastIndexByte(v, '-')+1:]
}
