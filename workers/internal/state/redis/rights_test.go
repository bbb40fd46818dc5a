package redis

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"mailporter/kit/certtest"
	"mailporter/kit/redistest"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/inbound/inboundtest"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound/outboundtest"
	"mailporter/workers/internal/slots"
	"mailporter/workers/internal/slots/slotstest"
)

const password = "MARKER-password"

// rights are those of the ACL line that the README gives: "user worker on >PASSWORD RULES".
func rights(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, line, found := strings.Cut(string(b), "user worker on >PASSWORD ")
	if !found {
		t.Fatal("the README gives no ACL line")
	}
	line, _, _ = strings.Cut(line, "\n")
	return line
}

// TestRights: the README's ACL line is enough for everything, the start-up check included, and no more than that.
func TestRights(t *testing.T) {
	t.Parallel()
	ca, err := certtest.NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	server := redistest.StartTLS(t, ca)
	server.User("worker", password, rights(t))
	p := place{url: server.URLOf("worker", password), root: server.URL(), roots: &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: ca.Pool()}}
	t.Run("quarantine", func(t *testing.T) { inboundtest.Quarantine(t, freshAt(p, (*Store).Quarantine)) })
	t.Run("deliveries", func(t *testing.T) { inboundtest.Deliveries(t, freshAt(p, (*Store).Deliveries)) })
	t.Run("peers", func(t *testing.T) { inboundtest.Peers(t, freshAt(p, (*Store).Peers)) })
	t.Run("ledger", func(t *testing.T) { outboundtest.Ledger(t, freshAt(p, (*Store).Ledger)) })
	t.Run("slots", func(t *testing.T) { slotstest.Slots(t, func(t *testing.T) slots.Slots { return openSlotsAt(t, p) }) })
	t.Run("outbox", func(t *testing.T) { outboundtest.Outbox(t, freshAt(p, (*Store).Outbox)) })
	throughATurmoil(t, p, func() {})
	p.quiet(t)
	s := p.open(t, p.url)
	defer s.Close()
	l, err := s.Checkpoints().Lease(t.Context(), mail.Folder{Mailbox: "a", Name: "INBOX"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Save(t.Context(), inbound.Cursor("c")), l.Renew(t.Context()), l.Release(t.Context())); err != nil {
		t.Error(err)
	}
	for _, forbidden := range [][]any{{"GET", "mailporter:x"}, {"KEYS", "*"}, {"FLUSHALL"}, {"CONFIG", "SET", "appendonly", "no"}, {"SUBSCRIBE", "mailporter:changes"}} {
		if err := s.client.Do(t.Context(), forbidden...).Err(); err == nil || !strings.Contains(err.Error(), "NOPERM") {
			t.Errorf("%v: %v", forbidden[0], err)
		}
	}
}

func TestRightsInACluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 0)
	cluster.User("worker", password, rights(t))
	p := place{url: strings.Replace(cluster.URL(), "://", "://worker:"+password+"@", 1), root: cluster.URL()}
	throughATurmoil(t, p, func() { cluster.Move(cluster.Slot(boxPrefix(busy)), nil) })
	p.quiet(t)
}

// quiet looks at the server once and finds nothing to say: neither about it nor about what it forbids.
func (p place) quiet(t *testing.T) {
	t.Helper()
	s := p.open(t, p.url)
	defer s.Close()
	var log strings.Builder
	s.check(t.Context(), slog.New(slog.NewTextHandler(&log, nil)))
	if got := log.String(); got != "" {
		t.Errorf("log:\n%s", got)
	}
}
