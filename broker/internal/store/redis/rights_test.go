package redis

import (
	"crypto/tls"
	"log/slog"
	"os"
	"strings"
	"testing"

	"mailporter/kit/certtest"
	"mailporter/kit/redistest"
)

const password = "MARKER-password"

// rights are those of the ACL line that the README gives: "user broker on >PASSWORD RULES".
func rights(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, line, found := strings.Cut(string(b), "user broker on >PASSWORD ")
	if !found {
		t.Fatal("the README gives no ACL line")
	}
	line, _, _ = strings.Cut(line, "\n")
	return line
}

// TestRights: the README's ACL line is enough for everything, the start-up check included, and no more than that.
func TestRights(t *testing.T) {
	ca, err := certtest.NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	server := redistest.StartTLS(t, ca)
	server.User("broker", password, rights(t))
	f := fleetAt(t, server.URLOf("broker", password))
	f.root, f.roots = server.URL(), &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: ca.Pool()}
	t.Run("contracts", func(t *testing.T) { contracts(t, f) })
	t.Run("wakes", f.wakes)
	f.quiet(t)
	s := f.broker(t)
	for _, forbidden := range [][]any{{"GET", "other"}, {"KEYS", "*"}, {"FLUSHALL"}, {"CONFIG", "SET", "appendonly", "no"}, {"DUMP", "mailporter:{c}:record"}} {
		if err := s.client.Do(t.Context(), forbidden...).Err(); err == nil || !strings.Contains(err.Error(), "NOPERM") {
			t.Errorf("%v: %v", forbidden[0], err)
		}
	}
}

func TestRightsInACluster(t *testing.T) {
	t.Parallel()
	cluster := redistest.StartCluster(t, 1, "--min-replicas-to-write", "1")
	cluster.User("broker", password, rights(t))
	f := fleetAt(t, strings.Replace(cluster.URL(), "://", "://broker:"+password+"@", 1))
	f.root = cluster.URL()
	contracts(t, f)
	f.wakes(t)
	f.fight(t, func() { cluster.Move(cluster.Slot(key("c", "record")), nil) })
	f.quiet(t)
}

// quiet looks at the server once and finds nothing to say: neither about it nor about what it forbids.
func (f *fleet) quiet(t *testing.T) {
	t.Helper()
	s := f.broker(t)
	if _, err := s.Time(t.Context()); err != nil {
		t.Error(err)
	}
	s.check(t.Context(), slog.New(slog.NewTextHandler(&f.log, nil)))
	if got := f.log.String(); got != "" {
		t.Errorf("log:\n%s", got)
	}
}
