package simulation

import (
	"context"
	"maps"
	"sync"
	"time"

	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/token"
)

// store is what a fleet shares. Records are durable once Save has answered, as the contract says; tokens and leases are
// replicated with a lag, and a failover loses the last of them.
type store struct {
	w *world

	mu      sync.Mutex
	tokens  map[token.Key]sealed[token.Key, token.Token]
	records map[string]sealed[string, keeper.Record]
	leases  map[string]leased
	fence   int64
	views   []*view
	journal []change // of what a failover may lose, oldest first
	down    bool
	rough   bool // answers are slow, and get lost
}

// sealed is a value with the key it was stored for.
type sealed[K comparable, V any] struct {
	value   V
	boundTo K
	spoiled bool
}

func (s sealed[K, V]) open(key K) (V, error) {
	if s.spoiled || s.boundTo != key {
		var zero V
		return zero, keeper.ErrSealed
	}
	return s.value, nil
}

type leased struct {
	fence int64
	until time.Time
}

// change is a write that a failover may undo.
type change struct {
	at   time.Time
	undo func()
}

const journalled = 256

func newStore(w *world) *store {
	return &store{w: w, tokens: map[token.Key]sealed[token.Key, token.Token]{}, records: map[string]sealed[string, keeper.Record]{},
		leases: map[string]leased{}}
}

// set changes a map so that a failover can undo it; s.mu is held.
func set[K comparable, V any](s *store, m map[K]V, k K, v V, present bool) {
	old, was := m[k]
	s.journal = append(s.journal, change{time.Now(), func() {
		if was {
			m[k] = old
		} else {
			delete(m, k)
		}
	}})
	if len(s.journal) > journalled {
		s.journal = s.journal[1:]
	}
	if present {
		m[k] = v
	} else {
		delete(m, k)
	}
}

// failover loses the tokens and leases of the last moments.
func (s *store) failover(lag time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lost := 0
	for n := len(s.journal) - 1; n >= 0 && time.Since(s.journal[n].at) <= lag; n-- {
		s.journal[n].undo()
		s.journal = s.journal[:n]
		lost++
	}
	s.w.note("store: failover, %d writes lost", lost)
}

func (s *store) setDown(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

func (s *store) setRough(rough bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rough = rough
}

// spoil damages what is stored for a token.
func (s *store) spoil(k token.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v, ok := s.tokens[k]; ok {
		v.spoiled = true
		s.tokens[k] = v
	}
}

// held is what the cache has of a credential and what opens; s.mu is held.
func (s *store) cached(id string) map[token.Key]token.Token {
	out := map[token.Key]token.Token{}
	for k, v := range s.tokens {
		if k.Credential == id && !v.spoiled {
			out[k] = v.value
		}
	}
	return out
}

// view is one replica's way to the store: a keeper.Cache and keeper.Credentials. Its clock may be wrong: then the times that
// it writes and reads are shifted, which is the same to a Keeper as if its clock were.
type view struct {
	store   *store
	link    *link
	skew    time.Duration
	changes chan string

	mu      sync.Mutex
	foreign bool // its keyset is a wrong one: nothing opens
}

func (s *store) view(l *link, skew time.Duration) *view {
	v := &view{store: s, link: l, skew: skew, changes: make(chan string, 64)}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.views = append(s.views, v)
	return v
}

func (v *view) setForeign(foreign bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.foreign = foreign
}

func (v *view) opens() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.foreign {
		return keeper.ErrSealed
	}
	return nil
}

// passage draws how a trip to the store goes.
func (s *store) passage(v *view, op, key string) passage {
	d := s.w.dice(v.link.name, op, key)
	s.mu.Lock()
	rough := s.rough
	s.mu.Unlock()
	p := passage{who: op + key, there: between(d, 100*time.Microsecond, 2*time.Millisecond), back: between(d, 100*time.Microsecond, 2*time.Millisecond), prompt: d.IntN(2) == 0}
	if !rough {
		return p
	}
	switch d.IntN(8) {
	case 0, 1, 2:
		p.there, p.back = between(d, time.Millisecond, 3*time.Second), between(d, time.Millisecond, 3*time.Second)
	case 3:
		p.reset = true
	case 4:
		p.lost = true
	}
	return p
}

// visit makes a trip to the store with s.mu held there.
func visit[T any](ctx context.Context, v *view, op, key string, effect func() (T, error)) (T, error) {
	s := v.store
	got, err := trip(ctx, v.link, s.passage(v, op, key), func() (T, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.down {
			var none T
			return none, errAway
		}
		return effect()
	})
	if err != nil {
		s.w.referee.troubled(v.link, err)
	}
	return got, err
}

// tell wakes the other replicas, if the message is not lost; s.mu is held.
func (v *view) tell(id string) {
	for _, other := range v.store.views {
		d := v.store.w.dice(v.link.name, other.link.name, "tell", id)
		if other == v || other.link.isDead() || d.IntN(10) == 0 {
			continue
		}
		time.AfterFunc(between(d, 100*time.Microsecond, 5*time.Millisecond), func() { other.hear(id) })
	}
}

func (v *view) hear(id string) {
	if v.link.isDead() {
		return
	}
	select {
	case v.changes <- id:
	default:
	}
}

// Changes is part of keeper.Credentials.
func (v *view) Changes() <-chan string { return v.changes }

// Get is part of keeper.Cache.
func (v *view) Get(ctx context.Context, k token.Key) (token.Token, error) {
	got, err := visit(ctx, v, "get", text(k), func() (token.Token, error) {
		t, ok := v.store.tokens[k]
		if err := v.opens(); err != nil || !ok {
			return token.Token{}, err
		}
		return t.open(k)
	})
	v.store.w.referee.looked(v.link, k, got)
	return v.in(got), err
}

// Put is part of keeper.Cache.
func (v *view) Put(ctx context.Context, k token.Key, t token.Token) error {
	t = v.out(t)
	v.store.w.referee.looked(v.link, k, t)
	_, err := visit(ctx, v, "put", text(k), func() (any, error) {
		old, ok := v.store.tokens[k]
		if ok && !old.spoiled && old.value.Generation >= t.Generation {
			return nil, nil
		}
		set(v.store, v.store.tokens, k, sealed[token.Key, token.Token]{value: t, boundTo: k}, true)
		v.tell(k.Credential)
		return nil, nil
	})
	return err
}

// Load is part of keeper.Credentials.
func (v *view) Load(ctx context.Context, id string) (keeper.Record, error) {
	r, err := visit(ctx, v, "load", id, func() (keeper.Record, error) { return v.load(id) })
	return v.record(r, -v.skew), err
}

// load reads a record; s.mu is held.
func (v *view) load(id string) (keeper.Record, error) {
	r, ok := v.store.records[id]
	if err := v.opens(); err != nil || !ok {
		return keeper.Record{}, err
	}
	return r.open(id)
}

// Lease is part of keeper.Credentials.
func (v *view) Lease(ctx context.Context, id string, ttl time.Duration) (keeper.Lease, error) {
	l, err := visit(ctx, v, "lease", id, func() (*lease, error) { return v.grant(id, ttl) })
	v.store.w.referee.leaseAnswered(v.link, id, l, err)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// grant gives the lease; s.mu is held.
func (v *view) grant(id string, ttl time.Duration) (*lease, error) {
	s := v.store
	r, err := v.load(id)
	if err != nil {
		return nil, err
	}
	if l, ok := s.leases[id]; ok && time.Now().Before(l.until) {
		return nil, keeper.ErrLeased
	}
	s.fence++
	l := &lease{view: v, id: id, fence: s.fence, granted: time.Now(), until: time.Now().Add(ttl), record: v.record(r, -v.skew), cached: s.cached(id)}
	set(s, s.leases, id, leased{l.fence, l.until}, true)
	s.journal = append(s.journal, change{time.Now(), func() { s.w.referee.lost(l) }})
	s.w.note("store: lease %d of %s for %s", l.fence, id, v.link.name)
	return l, nil
}

// lease is a keeper.Lease. cached is what the cache held when it was granted, for the referee.
type lease struct {
	view           *view
	id             string
	fence          int64
	granted, until time.Time
	record         keeper.Record
	cached         map[token.Key]token.Token
	lost           bool // in a failover; the referee's
}

// Record is part of keeper.Lease.
func (l *lease) Record() keeper.Record { return l.record }

// held says whether the lease still stands; s.mu is held.
func (l *lease) held() bool {
	now, ok := l.view.store.leases[l.id]
	return ok && now.fence == l.fence && time.Now().Before(now.until)
}

// Save is part of keeper.Lease.
func (l *lease) Save(ctx context.Context, r keeper.Record) error {
	v, s := l.view, l.view.store
	r = v.record(r, v.skew)
	_, err := visit(ctx, v, "save", l.id, func() (any, error) {
		if !l.held() {
			return nil, keeper.ErrLost
		}
		s.records[l.id] = sealed[string, keeper.Record]{value: r, boundTo: l.id}
		s.w.referee.saved(l.id, r)
		v.tell(l.id)
		return nil, nil
	})
	return err
}

// Release is part of keeper.Lease.
func (l *lease) Release(ctx context.Context) error {
	v, s := l.view, l.view.store
	s.w.referee.leaseEnded(l)
	_, err := visit(ctx, v, "release", l.id, func() (any, error) {
		if !l.held() {
			return nil, keeper.ErrLost
		}
		set(s, s.leases, l.id, leased{}, false)
		v.tell(l.id)
		return nil, nil
	})
	return err
}

// out is a token as it stands in the store: in true time.
func (v *view) out(t token.Token) token.Token { return shifted(t, v.skew) }

// in is a token as the replica's clock sees it.
func (v *view) in(t token.Token) token.Token { return shifted(t, -v.skew) }

func shifted(t token.Token, by time.Duration) token.Token {
	if t.Zero() {
		return t
	}
	t.Sent, t.Expires, t.Generation = t.Sent.Add(by), t.Expires.Add(by), t.Generation+by.Milliseconds()
	return t
}

// record is a record with its times shifted.
func (v *view) record(r keeper.Record, by time.Duration) keeper.Record {
	for _, at := range []*time.Time{&r.Since, &r.Hold, &r.Rotated, &r.Minted, &r.Changed} {
		if !at.IsZero() {
			*at = at.Add(by)
		}
	}
	r.Barred = maps.Clone(r.Barred)
	return r
}

func text(k token.Key) string { return k.Credential + "/" + k.Version + "/" + string(k.Audience) }

// move copies what is stored for one token to another's place.
func (s *store) move(from, to token.Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[to] = s.tokens[from]
}

// spoilRecord damages a stored record.
func (s *store) spoilRecord(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.records[id]
	r.spoiled = true
	s.records[id] = r
}

// moveRecord copies one credential's record to another's place.
func (s *store) moveRecord(from, to string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records[to] = s.records[from]
}
