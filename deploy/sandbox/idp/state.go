package idp

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// state is what the issuer must remember beyond its keys: what was revoked, and which single-use tokens were used.
type state struct {
	path string // empty: memory only
	mu   sync.Mutex
	stateFile
}

type stateFile struct {
	// Tokens are SHA-256 sums of revoked tokens, Chains the ids of revoked refresh token families.
	Tokens map[string]time.Time `json:"tokens"`
	Chains map[string]time.Time `json:"chains"`
	// Users gives the time before which a user's tokens are void, by "tenant user".
	Users map[string]time.Time `json:"users"`
	// Used are ids of single-use refresh tokens.
	Used map[string]time.Time `json:"used"`
}

func openState(dir string) (*state, error) {
	s := &state{stateFile: stateFile{
		Tokens: map[string]time.Time{}, Chains: map[string]time.Time{}, Users: map[string]time.Time{},
		Used: map[string]time.Time{},
	}}
	if dir == "" {
		return s, nil
	}
	s.path = filepath.Join(dir, "identity-state.json")
	b, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	return s, json.Unmarshal(b, &s.stateFile)
}

func userKey(tenant, user string) string { return lower(tenant) + " " + lower(user) }

func tokenKey(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// change runs f under the lock and makes what it did durable.
func (s *state) change(f func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	if s.path == "" {
		return nil
	}
	b, err := json.Marshal(s.stateFile)
	if err != nil {
		return err
	}
	return writeFile(s.path, b)
}

// use marks a single-use token as used and tells whether it was used before.
func (s *state) use(id string) (again bool, err error) {
	err = s.change(func() {
		_, again = s.Used[id]
		s.Used[id] = time.Now()
	})
	return again, err
}

func (s *state) revoked(token, tenant, user string, issued time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.Tokens[tokenKey(token)]; ok {
		return true
	}
	before, ok := s.Users[userKey(tenant, user)]
	return ok && user != "" && !issued.After(before)
}

func (s *state) chainRevoked(chain string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.Chains[chain]
	return ok
}

// RevokeToken makes one access or refresh token worthless.
func (i *Issuer) RevokeToken(token string) error {
	return i.state.change(func() { i.state.Tokens[tokenKey(token)] = time.Now() })
}

// RevokeUser makes all tokens void that a user got until now, as a changed password does. tenant is a directory id or
// GoogleTenant.
func (i *Issuer) RevokeUser(tenant, user string) error {
	return i.state.change(func() { i.state.Users[userKey(tenant, user)] = time.Now() })
}
