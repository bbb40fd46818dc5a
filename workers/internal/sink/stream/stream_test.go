package stream

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"mailporter/kit/redistest"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/inbound/inboundtest"
	"mailporter/workers/internal/mail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const name = "mail"

var (
	inbox  = mail.Folder{Mailbox: "support@contoso.example", Name: "Eingänge"}
	letter = mail.Bytes("Subject: one\r\n\r\nbody\r\n")
)

func newSink(t *testing.T, server *redistest.Server, change ...func(*Config)) *Sink {
	t.Helper()
	c := Config{URL: server.URL(), Stream: name}
	for _, f := range change {
		f(&c)
	}
	s, err := New(c)
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

// entries is what a consumer would read.
func entries(t *testing.T, server *redistest.Server) []redis.XMessage {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: server.Addr()})
	defer client.Close()
	all, err := client.XRange(t.Context(), name, "-", "+").Result()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestSink(t *testing.T) {
	server := redistest.Start(t)
	inboundtest.Sink(t, func(t *testing.T) inboundtest.SinkStore {
		client := redis.NewClient(&redis.Options{Addr: server.Addr()})
		defer client.Close()
		if err := client.FlushAll(t.Context()).Err(); err != nil {
			t.Fatal(err)
		}
		return inboundtest.SinkStore{
			Open: func(t *testing.T) inbound.Sink { return newSink(t, server) },
			Messages: func(t *testing.T) (all [][]byte) {
				for _, e := range entries(t, server) {
					all = append(all, []byte(e.Values["message"].(string)))
				}
				return all
			},
		}
	})
}

func TestFields(t *testing.T) {
	server := redistest.Start(t)
	it := inbound.Item{Key: "k", Arrived: time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)}
	if err := newSink(t, server).Put(t.Context(), inbox, it, letter); err != nil {
		t.Fatal(err)
	}
	got := entries(t, server)[0].Values
	for field, want := range map[string]string{
		"mailbox": inbox.Mailbox, "folder": inbox.Name, "received": "2026-03-01T09:30:00Z", "message": string(letter),
		"digest": "251c09f2e6956c73b1fa24e70df432f09e53038fe9954d46345e478159e26c27",
	} {
		if got[field] != want {
			t.Errorf("%s: %q, want %q", field, got[field], want)
		}
	}
}

// TestAnotherMessage: one that comes under a key that is taken is kept too, once.
func TestAnotherMessage(t *testing.T) {
	server := redistest.Start(t)
	s := newSink(t, server)
	for range 2 {
		for _, body := range []string{"Subject: a\r\n\r\n", "Subject: b\r\n\r\n"} {
			if err := s.Put(t.Context(), inbox, inbound.Item{Key: "k"}, mail.Bytes(body)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := entries(t, server); len(got) != 2 {
		t.Errorf("%d entries, want both messages once", len(got))
	}
}

// TestBounds: a full stream lets the mail wait, a message that is too large is refused for good.
func TestBounds(t *testing.T) {
	server := redistest.Start(t)
	s := newSink(t, server, func(c *Config) { c.MaxLength, c.MaxSize = 1, 100 })
	if err := s.Put(t.Context(), inbox, inbound.Item{Key: "1"}, mail.Bytes(strings.Repeat("x", 101))); fault.Of(err) != fault.Permanent {
		t.Errorf("too large: %v", err)
	}
	if err := s.Put(t.Context(), inbox, inbound.Item{Key: "2"}, letter); err != nil {
		t.Fatal(err)
	}
	if err := s.Put(t.Context(), inbox, inbound.Item{Key: "2"}, letter); err != nil {
		t.Errorf("what is there is there, also in a full stream: %v", err)
	}
	err := s.Put(t.Context(), inbox, inbound.Item{Key: "3"}, letter)
	var e *fault.Error
	if !errors.As(err, &e) || e.Kind != fault.Throttled || e.Reason != "STREAM_FULL" || !strings.Contains(err.Error(), "XDEL") {
		t.Errorf("full: %v", err)
	}
}

// TestReplies: what Redis refuses is told with what to do about it.
func TestReplies(t *testing.T) {
	server := redistest.Start(t, "--requirepass", "MARKER-password")
	for what, tc := range map[string]struct {
		url, reason string
	}{
		"no password":    {"redis://" + server.Addr(), "REDIS_FORBIDS"},
		"wrong password": {"redis://:MARKER-wrong@" + server.Addr(), "REDIS_FORBIDS"},
		"another type":   {"redis://:MARKER-password@" + server.Addr(), "NO_STREAM"},
		"nobody there":   {"redis://:MARKER-password@127.0.0.1:1", ""},
	} {
		t.Run(what, func(t *testing.T) {
			client := redis.NewClient(&redis.Options{Addr: server.Addr(), Password: "MARKER-password"})
			defer client.Close()
			if err := client.Set(t.Context(), name, "x", 0).Err(); err != nil {
				t.Fatal(err)
			}
			s := newSink(t, server, func(c *Config) { c.URL = tc.url })
			err := s.Put(t.Context(), inbox, inbound.Item{Key: "k"}, letter)
			var e *fault.Error
			if !errors.As(err, &e) || e.Kind != fault.Temporary || e.Reason != tc.reason {
				t.Errorf("%v, want %q", err, tc.reason)
			}
			if err != nil && strings.Contains(err.Error(), "MARKER") {
				t.Errorf("a password shows: %v", err)
			}
		})
	}
}

// TestKilled: a Redis that dies and comes back has what it took, once.
func TestKilled(t *testing.T) {
	server := redistest.Start(t)
	s := newSink(t, server)
	if err := s.Put(t.Context(), inbox, inbound.Item{Key: "1"}, letter); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	if err := s.Put(t.Context(), inbox, inbound.Item{Key: "2"}, letter); err == nil || fault.Of(err) != fault.Temporary {
		t.Fatalf("nobody took it, yet: %v", err)
	}
	server.Restart()
	for _, key := range []string{"1", "2"} {
		if err := s.Put(t.Context(), inbox, inbound.Item{Key: key}, letter); err != nil {
			t.Fatal(err)
		}
	}
	if got := entries(t, server); len(got) != 2 {
		t.Errorf("%d entries, want 2", len(got))
	}
}

func TestCheck(t *testing.T) {
	for text, want := range map[string]bool{"mail": true, "helpdesk:in": true, "": false, "a b": false, "{a}": false} {
		if err := Check(text); (err == nil) != want {
			t.Errorf("%q: %v", text, err)
		}
	}
}
