package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"mailporter/kit/certtest"
	"mailporter/sandbox"
	"mailporter/sandbox/fault"
)

// brokerctlBinary builds the operator's tool once for all tests.
var brokerctlBinary = sync.OnceValues(func() (path string, err error) {
	if brokerctlFolder, err = os.MkdirTemp("", "brokerctl"); err != nil {
		return "", err
	}
	path = filepath.Join(brokerctlFolder, "brokerctl")
	if out, err := exec.Command("go", "build", "-o", path, "mailporter/broker/cmd/brokerctl").CombinedOutput(); err != nil {
		return "", errors.New(string(out))
	}
	return path, nil
})

var brokerctlFolder string // empty: not built

// removeBrokerctl is called once all tests are over.
func removeBrokerctl() { _ = os.RemoveAll(brokerctlFolder) }

// operator is who may do everything.
const operator = "spiffe://mail.example/operator"

const operatorRule = "  - {identity: \"spiffe://mail.example/operator\", mailboxes: [\"*\"], verbs: [token, password, settings, report, admin, enroll], tenant-wide: true}\n"

// brokerctl runs the tool as the operator and returns its exit code and all that it printed.
func (s *site) brokerctl(args ...string) (code int, printed string) {
	s.t.Helper()
	path, err := brokerctlBinary()
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(s.dir, "tls/operator.pem")); err != nil {
		pair := s.issue(certtest.Options{CommonName: "operator", URI: operator})
		s.write("tls/operator.pem", string(pair.Certificate))
		s.write("tls/operator-key.pem", string(pair.Key))
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "TZ=UTC", "MAILPORTER_BROKER="+s.addr, "MAILPORTER_CERTIFICATE="+filepath.Join(s.dir, "tls/operator.pem"),
		"MAILPORTER_KEY="+filepath.Join(s.dir, "tls/operator-key.pem"), "MAILPORTER_CA="+filepath.Join(s.dir, "tls/ca.pem"))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		s.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), string(out)
}

// moments are what differs from run to run.
var moments = []struct {
	pattern *regexp.Regexp
	word    string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`), "TIME"},
	{regexp.MustCompile(`\(in (5\dm(\d+s)?|1h)\)`), "(in about an hour)"},
	{regexp.MustCompile(`\(in 8d23h\)`), "(in 9 days)"},
	{regexp.MustCompile(`\(in \d+s\)`), "(in a moment)"},
	{regexp.MustCompile(`\(\d[ms]?(\d+s)? ago\)|\(\d+s ago\)`), "(a moment ago)"},
	{regexp.MustCompile(`(next try +TIME) \(a moment ago\)`), "$1 (in a moment)"}, // it is being tried
}

func steady(text string) string {
	for _, m := range moments {
		text = m.pattern.ReplaceAllString(text, m.word)
	}
	return text
}

// statuses is what an operator sees of a mailbox in each state.
var statuses = map[string]struct {
	mailbox string
	code    int
	want    string
}{
	"healthy": {"app@contoso.example", 0, `
app@contoso.example, in  HEALTHY
  protocol               IMAP
  grant                  client_credentials
  credential             LABEL
  token ends             TIME (in about an hour)
  last token             TIME (a moment ago)
`},
	"expiring": {"cert@contoso.example", 1, `
cert@contoso.example, in  EXPIRING
  protocol                IMAP
  grant                   client_credentials
  credential              LABEL
  token ends              TIME (in about an hour)
  last token              TIME (a moment ago)
  act before              TIME (in 9 days)
  because                 the certificate of web @ 6f1d2c3b-0a49-4d57-8e6a-b1c2d3e4f506 ends: an administrator makes another one at the application, and the broker gets it as one more of the list
brokerctl: something is wrong
`},
	"frozen": {"expired@contoso.example", 1, `
expired@contoso.example, in  FROZEN
  protocol                   IMAP
  grant                      client_credentials
  credential                 LABEL
  class                      needs-admin
  reason                     CLIENT_SECRET_EXPIRED
  remedy                     REMEDY
  failing since              TIME (a moment ago)
  next try                   none until the configuration changes, or: brokerctl mailbox reset expired@contoso.example
brokerctl: something is wrong
`},
	"degraded": {"ropc@contoso.example", 1, `
ropc@contoso.example, in  DEGRADED
  protocol                IMAP
  grant                   password
  credential              LABEL
  class                   transient
  reason                  IDP_UNAVAILABLE
  remedy                  REMEDY
  failing since           TIME (a moment ago)
  next try                TIME (in a moment)
  token ends              TIME (in about an hour)
  last token              TIME (a moment ago)
brokerctl: something is wrong
`},
}

// labels and remedies are told elsewhere; here they must be there and be one line.
var variable = regexp.MustCompile(`(credential|remedy)( +)\S.*`)

func TestStatusOfEachState(t *testing.T) {
	sb := provider(t, time.Hour)
	s := newSite(t, sb, "file:state")
	s.write("policy.yaml", policy+operatorRule)
	text := s.certify("ending", 9*24*time.Hour-time.Minute)
	if !sb.Directory().UpdateApp(tenant, "web", func(a *sandbox.App) { a.Certificates = []string{text} }) {
		t.Fatal("no such application")
	}
	s.write("mailboxes.d/cert.yaml", strings.NewReplacer("TENANT", tenant, "AUTHORITY", sb.Authority()).Replace(
		`mailboxes: [{address: cert@contoso.example, directory-id: TENANT, client-id: web, tenant-authority: "AUTHORITY", grant-type: client_credentials,
  certificates: [{certificate: ../secrets/ending.pem, key: ../secrets/ending.key}], pop-client: {}}]`+"\n"))
	s.start()
	c := s.connect(worker)
	for _, mailbox := range []string{"app@contoso.example", "cert@contoso.example", "ropc@contoso.example"} {
		if _, err := ask(c, mailbox, in); err != nil {
			t.Fatal(mailbox, reason(err))
		}
	}
	if _, err := ask(c, "expired@contoso.example", in); err == nil {
		t.Fatal("an expired secret works")
	}
	sb.Faults().Add(fault.Rule{Target: fault.Identity, Client: "public", Action: fault.Reply, Status: 503})
	if code, out := s.brokerctl("mailbox", "check", "ropc@contoso.example"); code != 1 || !strings.Contains(out, "DEGRADED") {
		t.Fatalf("check: exit %d\n%s", code, out)
	}
	for name, tc := range statuses {
		t.Run(name, func(t *testing.T) {
			code, out := s.brokerctl("mailbox", "status", tc.mailbox)
			t.Log("\n" + out)
			got := variable.ReplaceAllStringFunc(steady(out), func(line string) string {
				m := variable.FindStringSubmatch(line)
				return m[1] + m[2] + map[string]string{"credential": "LABEL", "remedy": "REMEDY"}[m[1]]
			})
			if code != tc.code || got != strings.TrimPrefix(tc.want, "\n") {
				t.Errorf("exit %d\n%s\nwant\n%s", code, got, tc.want)
			}
		})
	}
	_, list := s.brokerctl("mailbox", "list", "--state", "frozen,degraded,expiring")
	t.Log("\n" + list)
	if !regexp.MustCompile(`(?s)expired@.* frozen .*ropc@.* degraded .*cert@.* expiring .*3 sides: 1 frozen, 1 degraded, 1 expiring`).MatchString(list) {
		t.Error("the order of the list")
	}
}
