package keepertest

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/token"
	"mailporter/kit/secret"
)

// StoredCache is a Cache with hands on what is stored.
type StoredCache struct {
	Cache  keeper.Cache
	Other  keeper.Cache             // another broker's over the same store; nil: the store serves one process
	Tamper func(k token.Key)        // spoils the stored token
	Move   func(from, to token.Key) // copies the stored bytes to another key
}

// Cache is the suite of a Cache. open makes a fresh, empty one.
func Cache(t *testing.T, open func(t *testing.T) StoredCache) {
	for name, check := range map[string]func(*testing.T, StoredCache){
		"nothing is a zero token":         cacheEmpty,
		"keeps every field":               cacheRoundTrip,
		"the highest generation stays":    cacheGenerations,
		"keys do not mix":                 cacheKeys,
		"a spoiled value does not open":   cacheTampered,
		"a moved value does not open":     cacheMoved,
		"other brokers see it":            cacheShared,
		"side by side, the highest stays": cacheConcurrent,
	} {
		t.Run(name, func(t *testing.T) { check(t, open(t)) })
	}
}

var key = token.Key{Credential: "cred-1", Version: "v-1", Audience: "https://mail.example/.default"}

// made is a token of a generation, with every field set.
func made(generation int64) token.Token {
	sent := time.Now().Truncate(time.Millisecond)
	return token.Token{
		Value: secret.New(strings.Repeat("x", 6000)), Sent: sent, Expires: sent.Add(time.Hour), RenewIn: 20 * time.Minute,
		Generation: generation, Trace: "trace-1",
	}
}

func (s StoredCache) put(t *testing.T, k token.Key, tok token.Token) {
	t.Helper()
	if err := s.Cache.Put(t.Context(), k, tok); err != nil {
		t.Fatal(err)
	}
}

func (s StoredCache) get(t *testing.T, k token.Key) token.Token {
	t.Helper()
	got, err := s.Cache.Get(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func sameToken(a, b token.Token) bool {
	return a.Value.Equal(b.Value) && a.Sent.Equal(b.Sent) && a.Expires.Equal(b.Expires) && a.RenewIn == b.RenewIn &&
		a.Generation == b.Generation && a.Trace == b.Trace
}

func cacheEmpty(t *testing.T, s StoredCache) {
	if got := s.get(t, key); !got.Zero() || got.Generation != 0 {
		t.Errorf("got a token of generation %d", got.Generation)
	}
}

func cacheRoundTrip(t *testing.T, s StoredCache) {
	want := made(7)
	s.put(t, key, want)
	if got := s.get(t, key); !sameToken(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func cacheGenerations(t *testing.T, s StoredCache) {
	for _, step := range []struct{ put, want int64 }{{5, 5}, {4, 5}, {6, 6}} {
		s.put(t, key, made(step.put))
		if got := s.get(t, key).Generation; got != step.want {
			t.Errorf("after %d: got %d, want %d", step.put, got, step.want)
		}
	}
	same := made(6)
	same.Value = secret.New("late")
	s.put(t, key, same)
	if s.get(t, key).Value.Equal(same.Value) {
		t.Error("a token of an equal generation replaced the first")
	}
}

func cacheKeys(t *testing.T, s StoredCache) {
	s.put(t, key, made(1))
	for name, other := range map[string]token.Key{
		"credential": {Credential: "cred-2", Version: key.Version, Audience: key.Audience},
		"version":    {Credential: key.Credential, Version: "v-2", Audience: key.Audience},
		"audience":   {Credential: key.Credential, Version: key.Version, Audience: "other"},
		"run-on":     {Credential: key.Credential + key.Version, Audience: key.Audience},
	} {
		if got := s.get(t, other); !got.Zero() {
			t.Errorf("another %s got the token", name)
		}
	}
}

func cacheTampered(t *testing.T, s StoredCache) {
	s.put(t, key, made(1))
	s.Tamper(key)
	if got, err := s.Cache.Get(t.Context(), key); !errors.Is(err, keeper.ErrSealed) || !got.Zero() {
		t.Errorf("got generation %d, %v", got.Generation, err)
	}
	s.put(t, key, made(2))
	if got := s.get(t, key); got.Generation != 2 {
		t.Error("a spoiled value cannot be replaced")
	}
}

func cacheMoved(t *testing.T, s StoredCache) {
	s.put(t, key, made(1))
	for name, to := range map[string]token.Key{
		"credential": {Credential: "cred-2", Version: key.Version, Audience: key.Audience},
		"version":    {Credential: key.Credential, Version: "v-2", Audience: key.Audience},
		"audience":   {Credential: key.Credential, Version: key.Version, Audience: "other"},
	} {
		s.put(t, to, made(1)) // so that there is a place to move it to
		s.Move(key, to)
		if got, err := s.Cache.Get(t.Context(), to); !errors.Is(err, keeper.ErrSealed) || !got.Zero() {
			t.Errorf("moved to another %s: generation %d, %v", name, got.Generation, err)
		}
	}
}

func cacheShared(t *testing.T, s StoredCache) {
	if s.Other == nil {
		s.Other = s.Cache
	}
	want := made(3)
	s.put(t, key, want)
	if got, err := s.Other.Get(t.Context(), key); err != nil || !sameToken(got, want) {
		t.Errorf("got generation %d, %v", got.Generation, err)
	}
}

func cacheConcurrent(t *testing.T, s StoredCache) {
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			if err := s.Cache.Put(t.Context(), key, made(int64(i+1))); err != nil {
				t.Error(err)
			}
			if _, err := s.Cache.Get(t.Context(), key); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if got := s.get(t, key).Generation; got != 32 {
		t.Errorf("got generation %d", got)
	}
}
