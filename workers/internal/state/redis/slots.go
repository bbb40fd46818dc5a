package redis

import (
	"context"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"mailporter/workers/internal/slots"
)

// Slots that are taken are a set of marks by when they lapse; a worker that lives renews its own. The time is Redis's.
const (
	slotLife = 30 * time.Second
	// slotPause is about how long to wait before asking again where all are taken: none of the others tells when it is done.
	slotPause = 25 * time.Millisecond
	// slotWithin is how long Redis may take to hear that a slot is free; one that it does not hear of lapses.
	slotWithin = 2 * time.Second
)

// takeSlot answers 1 if there was one. KEYS: taken. ARGV: most, life in milliseconds, mark.
var takeSlot = redis.NewScript(`
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[1]) then return 0 end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[3])
redis.call('PEXPIRE', KEYS[1], 2 * ARGV[2])
return 1`)

// renewSlot makes one that is still taken last. KEYS: taken. ARGV: life in milliseconds, mark.
var renewSlot = redis.NewScript(`
if not redis.call('ZSCORE', KEYS[1], ARGV[2]) then return 0 end
local t = redis.call('TIME')
redis.call('ZADD', KEYS[1], t[1] * 1000 + math.floor(t[2] / 1000) + ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], 2 * ARGV[1])
return 1`)

// fleetSlots are those of all workers. This one's stand in line among themselves first, so that few ask at a time.
type fleetSlots struct {
	client redis.UniversalClient
	own    slots.Local
}

var _ slots.Slots = (*fleetSlots)(nil)

func slotsKey(name string) string { return prefix + "{s:" + tag(name) + "}:slots" }

// Take implements slots.Slots.
func (f *fleetSlots) Take(ctx context.Context, name string, most int) (release func(), err error) {
	most = max(1, most)
	leave, err := f.own.Take(ctx, name, most)
	if err != nil {
		return nil, err
	}
	s := &slot{client: f.client, key: slotsKey(name), mark: rand.Text()}
	if err := s.take(ctx, most); err != nil {
		leave()
		return nil, err
	}
	return sync.OnceFunc(func() { s.end(); leave() }), nil
}

// slot is one that this worker holds, or wants.
type slot struct {
	client    redis.UniversalClient
	key, mark string

	mu      sync.Mutex
	over    bool
	renewal *time.Timer
}

func (s *slot) take(ctx context.Context, most int) error {
	for {
		taken, err := takeSlot.Run(ctx, s.client, []string{s.key}, most, slotLife.Milliseconds(), s.mark).Bool()
		switch {
		case ctx.Err() != nil:
			s.end() // it may have come through
			return context.Cause(ctx)
		case err != nil:
			s.end()
			return fmt.Errorf("wait for room for a request: %w", err)
		case taken:
			s.renewal = time.AfterFunc(slotLife/3, s.renew)
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(slotPause/2 + mathrand.N(slotPause)):
		}
	}
}

// renew is the timer's. What cannot be renewed now may be in time the next time.
func (s *slot) renew() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), slotWithin)
	defer cancel()
	_ = renewSlot.Run(ctx, s.client, []string{s.key}, slotLife.Milliseconds(), s.mark).Err()
	s.renewal.Reset(slotLife / 3)
}

func (s *slot) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	if s.renewal != nil {
		s.renewal.Stop()
	}
	ctx, cancel := context.WithTimeout(context.Background(), slotWithin)
	defer cancel()
	_ = s.client.ZRem(ctx, s.key, s.mark).Err()
}
