package keeper

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"mailporter/broker/internal/token"
)

const shardCount = 64

// shard is a part of the slots; callers of different keys do not meet, and readers never wait for one another.
type shard struct {
	mu    sync.RWMutex
	slots map[token.Key]*slot
}

// slot is the place of one token in memory.
type slot struct {
	key     token.Key
	account *account
	held    atomic.Pointer[held]
	epoch   atomic.Int64 // the account's when the cache was last looked into
	looked  atomic.Bool  // the cache was asked: what it holds is served even if the credential is frozen
	mints   atomic.Int64 // tokens that this process got from the provider
	quiet   atomic.Int64 // Unix nanoseconds: no background renewal before

	mu       sync.Mutex
	flight   *flight                    // the renewal under way, or nil
	lookouts map[time.Duration]*lookout // by margin
}

// held is a token in memory with what is worth computing once.
type held struct {
	token       token.Token
	jitter      float64
	source      Source // where it came from, for who waited for it
	fingerprint [32]byte
}

// flight is a renewal that callers wait for.
type flight struct {
	done chan struct{} // closed at the end; the fields below are written before
	got  *held         // what it brought, or nil
	err  error         // *remedy.Fault, or why it was given up
	want want
}

// want is what would satisfy a caller.
type want struct {
	margin time.Duration
	newer  int64 // generations up to this one will not do
	ahead  bool  // nobody waits: the token is only about to need a renewal
	forced bool  // the token at hand would do, but for newer: a server refused it
}

func (w want) satisfiedBy(h *held, now time.Time) bool {
	return h != nil && h.token.Generation > w.newer && h.token.Usable(now, w.margin)
}

// refusedBy says that nothing is wrong with the token but that the caller does not want it.
func (w want) refusedBy(h *held, now time.Time) bool {
	return !w.ahead && h != nil && h.token.Generation <= w.newer && h.token.Usable(now, w.margin)
}

// slot finds the place of a key without locks that wait, and without allocation once it is there.
func (k *Keeper) slot(w Wish) *slot {
	key := w.key()
	sh := &k.shards[maphash.Comparable(k.seed, key)%shardCount]
	sh.mu.RLock()
	s := sh.slots[key]
	sh.mu.RUnlock()
	if s != nil {
		return s
	}
	fresh := &slot{key: key, account: k.account(w.Credential)}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if s = sh.slots[key]; s == nil {
		s = fresh
		sh.slots[key] = s
	}
	return s
}

// eachSlot visits all slots and drops those for which keep says no.
func (k *Keeper) eachSlot(keep func(*slot) bool) {
	for i := range k.shards {
		sh := &k.shards[i]
		sh.mu.Lock()
		for key, s := range sh.slots {
			if !keep(s) {
				delete(sh.slots, key)
			}
		}
		sh.mu.Unlock()
	}
}

// offer takes a token into memory unless one of an equal or higher generation is there, and returns what is there now.
func (s *slot) offer(t token.Token, from Source) *held {
	if t.Zero() {
		return s.held.Load()
	}
	fresh := &held{token: t, jitter: token.Jitter(s.key, t.Generation), source: from, fingerprint: t.Value.Fingerprint()}
	for {
		old := s.held.Load()
		if old != nil && old.token.Generation >= t.Generation {
			return old
		}
		if s.held.CompareAndSwap(old, fresh) {
			return fresh
		}
	}
}
