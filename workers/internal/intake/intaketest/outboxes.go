// Package intaketest is what the tests of several doors share.
package intaketest

import (
	"io"
	"log/slog"
	"testing"

	"mailporter/kit/redistest"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/state/file"
	"mailporter/workers/internal/state/redis"
)

// Outboxes are the real ones, each empty at first: each function opens one, and again with what is in it once the test that
// opened it has ended.
func Outboxes(t *testing.T) map[string]func(*testing.T) outbound.Outbox {
	t.Helper()
	dir := t.TempDir()
	server := redistest.Start(t)
	return map[string]func(*testing.T) outbound.Outbox{
		"file": func(t *testing.T) outbound.Outbox {
			t.Helper()
			s, err := file.Open(dir)
			return closing(t, s, err).Outbox()
		},
		"redis": func(t *testing.T) outbound.Outbox {
			t.Helper()
			s, err := redis.Open(t.Context(), redis.Config{URL: server.URL()}, slog.New(slog.DiscardHandler))
			return closing(t, s, err).Outbox()
		},
	}
}

func closing[S io.Closer](t *testing.T, s S, err error) S {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
