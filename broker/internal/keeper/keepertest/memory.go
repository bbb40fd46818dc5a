package keepertest

import (
	"context"
	"errors"
	"sync"
	"time"

	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/token"
)

// ErrDown is what a Memory that is down answers.
var ErrDown = errors.New("the store is down")

// Memory is a store in memory that any number of brokers share. It can go away, as a Redis can.
type Memory struct {
	mu        sync.Mutex
	tokens    map[token.Key]sealed[token.Key, token.Token]
	records   map[string]sealed[string, keeper.Record]
	leases    map[string]leaseState
	fence     int64
	brokers   []*Broker
	cacheDown bool
	storeDown bool
	failSaves int
	saves     int
}

// sealed is a value with the key it was stored for, as associated data binds them.
type sealed[K comparable, V any] struct {
	value    V
	boundTo  K
	tampered bool
}

func (s sealed[K, V]) open(key K) (V, error) {
	if s.tampered || s.boundTo != key {
		var zero V
		return zero, keeper.ErrSealed
	}
	return s.value, nil
}

type leaseState struct {
	fence int64
	until time.Time
}

// NewMemory makes an empty store.
func NewMemory() *Memory {
	return &Memory{
		tokens: map[token.Key]sealed[token.Key, token.Token]{}, records: map[string]sealed[string, keeper.Record]{},
		leases: map[string]leaseState{},
	}
}

// CacheDown lets every call about tokens fail, or work again.
func (m *Memory) CacheDown(down bool) { m.locked(func() { m.cacheDown = down }) }

// StoreDown lets every call about credentials fail, or work again.
func (m *Memory) StoreDown(down bool) { m.locked(func() { m.storeDown = down }) }

// FailSaves lets the next n calls of Save fail.
func (m *Memory) FailSaves(n int) { m.locked(func() { m.failSaves = n }) }

// Overtake ends a credential's lease and writes a record, as a broker does that took the lease after it lapsed.
func (m *Memory) Overtake(id string, r keeper.Record) {
	m.locked(func() {
		m.fence++
		m.leases[id] = leaseState{fence: m.fence}
		m.records[id] = sealed[string, keeper.Record]{value: r, boundTo: id}
	})
}

// Saves counts the records written.
func (m *Memory) Saves() (n int) {
	m.locked(func() { n = m.saves })
	return n
}

// TamperToken spoils what is stored for a token.
func (m *Memory) TamperToken(k token.Key) {
	m.locked(func() { s := m.tokens[k]; s.tampered = true; m.tokens[k] = s })
}

// MoveToken copies what is stored for one token to another's place.
func (m *Memory) MoveToken(from, to token.Key) { m.locked(func() { m.tokens[to] = m.tokens[from] }) }

// TamperRecord spoils a stored record.
func (m *Memory) TamperRecord(id string) {
	m.locked(func() { s := m.records[id]; s.tampered = true; m.records[id] = s })
}

// MoveRecord copies one credential's record to another's place.
func (m *Memory) MoveRecord(from, to string) { m.locked(func() { m.records[to] = m.records[from] }) }

func (m *Memory) locked(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

// Broker is one broker's view of a Memory: a keeper.Cache and keeper.Credentials.
type Broker struct {
	*Memory
	changes chan string
}

// Broker connects another broker.
func (m *Memory) Broker() *Broker {
	b := &Broker{m, make(chan string, 256)}
	m.locked(func() { m.brokers = append(m.brokers, b) })
	return b
}

// tell wakes the other brokers; the caller holds m.mu. Missing one is allowed, so a full channel is no error.
func (b *Broker) tell(id string) {
	for _, other := range b.brokers {
		if other == b {
			continue
		}
		select {
		case other.changes <- id:
		default:
		}
	}
}

// Changes is part of keeper.Credentials.
func (b *Broker) Changes() <-chan string { return b.changes }

// Get is part of keeper.Cache.
func (b *Broker) Get(ctx context.Context, k token.Key) (token.Token, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.reachable(ctx, b.cacheDown); err != nil {
		return token.Token{}, err
	}
	s, ok := b.tokens[k]
	if !ok {
		return token.Token{}, nil
	}
	return s.open(k)
}

// Put is part of keeper.Cache.
func (b *Broker) Put(ctx context.Context, k token.Key, t token.Token) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.reachable(ctx, b.cacheDown); err != nil {
		return err
	}
	if old, ok := b.tokens[k]; ok && !old.tampered && old.value.Generation >= t.Generation {
		return nil
	}
	b.tokens[k] = sealed[token.Key, token.Token]{value: t, boundTo: k}
	b.tell(k.Credential)
	return nil
}

func (b *Broker) reachable(ctx context.Context, down bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if down {
		return ErrDown
	}
	return nil
}

// Load is part of keeper.Credentials.
func (b *Broker) Load(ctx context.Context, id string) (keeper.Record, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.load(ctx, id)
}

func (b *Broker) load(ctx context.Context, id string) (keeper.Record, error) {
	if err := b.reachable(ctx, b.storeDown); err != nil {
		return keeper.Record{}, err
	}
	s, ok := b.records[id]
	if !ok {
		return keeper.Record{}, nil
	}
	return s.open(id)
}

// Lease is part of keeper.Credentials.
func (b *Broker) Lease(ctx context.Context, id string, ttl time.Duration) (keeper.Lease, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r, err := b.load(ctx, id)
	if err != nil {
		return nil, err
	}
	if l, ok := b.leases[id]; ok && time.Now().Before(l.until) {
		return nil, keeper.ErrLeased
	}
	b.fence++
	b.leases[id] = leaseState{b.fence, time.Now().Add(ttl)}
	return &memoryLease{broker: b, id: id, fence: b.fence, record: r}, nil
}

// Shelve implements keeper.Shelver.
func (b *Broker) Shelve(_ context.Context, id string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.records, id)
	return nil
}

type memoryLease struct {
	broker *Broker
	id     string
	fence  int64
	record keeper.Record
}

func (l *memoryLease) Record() keeper.Record { return l.record }

// held says whether the lease still stands; the caller holds the lock.
func (l *memoryLease) held() bool {
	now, ok := l.broker.leases[l.id]
	return ok && now.fence == l.fence && time.Now().Before(now.until)
}

func (l *memoryLease) Save(ctx context.Context, r keeper.Record) error {
	b := l.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.reachable(ctx, b.storeDown); err != nil {
		return err
	}
	if b.failSaves > 0 {
		b.failSaves--
		return ErrDown
	}
	if !l.held() {
		return keeper.ErrLost
	}
	b.records[l.id] = sealed[string, keeper.Record]{value: r, boundTo: l.id}
	b.saves++
	b.tell(l.id)
	return nil
}

func (l *memoryLease) Release(ctx context.Context) error {
	b := l.broker
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.reachable(ctx, b.storeDown); err != nil {
		return err
	}
	if !l.held() {
		return keeper.ErrLost
	}
	delete(b.leases, l.id)
	b.tell(l.id)
	return nil
}
