package directory

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const contoso = `
applications:
  contoso: {directory-id: d, client-id: c, secrets: [{file: ../app}]}
mailboxes:
  - {address: a@x.org, application: contoso, pop-client: {type: GRAPH}}
`

func TestReload(t *testing.T) {
	s := newSite(t)
	var log bytes.Buffer
	first := s.good(contoso)
	d := Open(filepath.Join(s.dir, "broker.yaml"), first, slog.New(slog.NewTextHandler(&log, nil)))
	before := first.Find("a@x.org").Inbound

	s.write("mailboxes.d/a.yaml", "mailboxes: [{address: nobody}]")
	if complaints := d.Reload(); complaints.Err() == nil || d.Now() != first {
		t.Fatalf("a bad state was taken: %v", complaints)
	}
	if !strings.Contains(log.String(), "is no address") {
		t.Fatalf("complaints are not in the log: %s", log.String())
	}
	select {
	case <-first.Replaced():
		t.Fatal("Replaced by a refused state")
	default:
	}

	s.write("mailboxes.d/a.yaml", contoso)
	s.write("app", "corrected-secret")
	if err := d.Reload().Err(); err != nil {
		t.Fatal(err)
	}
	<-first.Replaced()
	after := d.Now().Find("a@x.org").Inbound
	if after.Credential.ID != before.Credential.ID || after.Credential.Version == before.Credential.Version {
		t.Fatal("a changed secret must change the version and nothing else of the name")
	}
	if after.Version != before.Version {
		t.Fatal("the worker's settings are said to have changed")
	}
	if strings.Contains(log.String(), "secret") {
		t.Fatalf("log: %s", log.String())
	}
}

func TestRestartNeeded(t *testing.T) {
	s := newSite(t)
	var log bytes.Buffer
	d := Open(filepath.Join(s.dir, "broker.yaml"), s.good(contoso), slog.New(slog.NewTextHandler(&log, nil)))
	s.write("broker.yaml", "listen: 127.0.0.1:1\npolicy: policy.yaml\nmailboxes: [mailboxes.d/*.yaml]\n")
	if err := d.Reload().Err(); err != nil || !strings.Contains(log.String(), "takes effect at the next start") {
		t.Fatalf("%v, log: %s", err, log.String())
	}
}

func TestPathsNameEverythingRead(t *testing.T) {
	s := newSite(t)
	paths := s.good(contoso).Paths()
	for _, want := range []string{"broker.yaml", "policy.yaml", "mailboxes.d/*.yaml", "app"} {
		if !slices.ContainsFunc(paths, func(p string) bool { return strings.HasSuffix(filepath.Clean(p), "/"+want) }) {
			t.Errorf("%s is not in %v", want, paths)
		}
	}
}

// many writes a mailbox file with n mailboxes, each with both sides.
func many(n int) string {
	var b strings.Builder
	b.WriteString(`
applications:
  contoso: {directory-id: d, client-id: c, secrets: [{file: ../app}], grant-type: client_credentials}
defaults:
  pop-client: {type: IMAP, mail.imap.auth.mechanisms: XOAUTH2}
  smtp-client: {server-type: SMTP, mail.smtp.auth.mechanisms: XOAUTH2}
mailboxes:
`)
	for i := range n {
		fmt.Fprintf(&b, "  - {address: m%06d@contoso.com, application: contoso, pop-client: {cycle-time: \"00:00:30\"}, smtp-client: {cnx-pool-size: 2}}\n", i)
	}
	return b.String()
}

// Ten thousand share what they share; how fast a hundred thousand come is for `make bench` to say.
func TestLoadsManyMailboxes(t *testing.T) {
	c := newSite(t).good(many(10_000))
	if len(c.Mailboxes) != 10_000 || c.Mailboxes[7].Inbound.Credential != c.Mailboxes[9999].Outbound.Credential {
		t.Fatal("mailboxes are missing or do not share their credential")
	}
}

func BenchmarkLoad100000(b *testing.B) {
	s := newSite(b)
	s.write("mailboxes.d/a.yaml", many(100_000))
	for b.Loop() {
		if c, complaints := Load(filepath.Join(s.dir, "broker.yaml"), nil); complaints.Err() != nil || len(c.Mailboxes) != 100_000 {
			b.Fatal(complaints)
		}
	}
}

func TestStale(t *testing.T) {
	s := newSite(t)
	c := s.good(contoso)
	if !c.Stale() {
		t.Fatal("files as young as the reading must count as changed")
	}
	past := time.Now().Add(-time.Hour)
	for _, name := range []string{"broker.yaml", "policy.yaml", "app", "mailboxes.d/a.yaml"} {
		if err := os.Chtimes(filepath.Join(s.dir, name), past, past); err != nil {
			t.Fatal(err)
		}
	}
	if c.Stale() {
		t.Fatal("old files count as changed")
	}
	s.write("mailboxes.d/b.yaml", "mailboxes: []")
	if !c.Stale() {
		t.Fatal("a new file is not seen")
	}
}
