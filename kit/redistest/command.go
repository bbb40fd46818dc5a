package redistest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	patience = time.Minute           // for what redis does by itself, on a machine that has other things to do
	look     = 20 * time.Millisecond // between two looks
)

// Do sends one command on a connection of its own and returns what came.
func (s *Server) Do(args ...any) (any, error) {
	c := redis.NewClient(&redis.Options{Addr: s.address, Protocol: 2, MaxRetries: -1, DialerRetries: 1, DisableIdentity: true, TLSConfig: s.tls})
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return c.Do(ctx, args...).Result()
}

// User makes a user with a password and the rights of an ACL rule, as redis.conf writes them: "~prefix:* +get +set".
func (s *Server) User(name, password, rules string) {
	s.t.Helper()
	args := []any{"ACL", "SETUSER", name, "reset", "on", ">" + password}
	for _, r := range strings.Fields(rules) {
		args = append(args, r)
	}
	s.must(args...)
}

// must is Do for what cannot fail.
func (s *Server) must(args ...any) any {
	s.t.Helper()
	got, err := s.Do(args...)
	if err != nil {
		s.t.Fatalf("redis %s: %v: %v", s.address, args, err)
	}
	return got
}

// says tells whether the answer to a command contains all of the words.
func (s *Server) says(words []string, args ...any) error {
	got, err := s.Do(args...)
	if err != nil {
		return err
	}
	for _, w := range words {
		if !strings.Contains(fmt.Sprint(got), w) {
			return fmt.Errorf("redis %s: no %q in the answer to %v: %v", s.address, w, args, got)
		}
	}
	return nil
}

// eventually waits until ok has no complaint, and fails the test with the last one when patience is at its end.
func eventually(t testing.TB, ok func() error) {
	t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		err := ok()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-late.C:
			t.Fatal(err)
		}
	}
}
