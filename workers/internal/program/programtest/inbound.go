package programtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailporter/kit/daemon"
	"mailporter/kit/tokenclient"
	"mailporter/kit/tokenclient/brokertest"
	"mailporter/sandbox"
	"mailporter/sandbox/idp"
	"mailporter/sandbox/mailstore"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/setup"
)

// Inbound is a worker that fetches mail, and what it needs of a provider.
type Inbound struct {
	App         daemon.App[setup.Config]
	Protocol    tokenclient.Protocol
	Mechanism   tokenclient.Mechanism
	Role        string // the application's permission: IMAP.AccessAsApp
	Audience    string // of the tokens
	Impersonate bool   // EWS
	TwoLine     bool   // POP3
	Address     func(*sandbox.Sandbox) string
	// Interrupt ends a mailbox's session at its next fetch, and Logins counts the sessions so far; nil where every request
	// shows its token.
	Interrupt func(sb *sandbox.Sandbox, mailbox string)
	Logins    func(*sandbox.Sandbox) int
}

const tenant = "6f1d2c3b-0a49-4d57-8e6a-b1c2d3e4f506"

// One mailbox keeps its mail, the other's is deleted.
var mailboxes = []string{"support@contoso.example", "sales@contoso.example"}

// Fetches tries the whole worker: real sockets, tokens of a few seconds, Maildirs on disk.
func Fetches(t *testing.T, w Inbound) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	var log Log
	var tokens minted
	t.Run("", func(t *testing.T) { // its cleanups end before the leak check
		sb := w.sandbox(t, 3*time.Second)
		broker := w.broker(t, sb, &tokens)
		dir, admin := configure(t, sb, broker.Listen(t, nil))
		stop := Start(t, w.App, dir, &log)
		var want [][]byte
		for round := range 3 { // each takes longer than a token lives
			want = append(want, deliver(t, sb, round)...)
			WaitFor(t, fmt.Sprintf("round %d", round), func() bool { return len(arrived(t, dir)) == len(want) })
			mint := broker.Minted()
			WaitFor(t, "another token", func() bool { return broker.Minted() > mint })
		}
		mustEqual(t, arrived(t, dir), want)
		w.mustBeHealthy(t, admin)
		stop()
	})
	tokens.mustBeHidden(t, &log)
}

// FetchesWithoutTheBroker shows that while the broker is away the worker goes on with the tokens that it holds, and makes
// new connections with them.
func FetchesWithoutTheBroker(t *testing.T, w Inbound) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("", func(t *testing.T) { // its cleanups end before the leak check
		var log Log
		var tokens minted
		sb := w.sandbox(t, 10*time.Minute)
		broker := w.broker(t, sb, &tokens)
		dir, admin := configure(t, sb, broker.Listen(t, nil))
		stop := Start(t, w.App, dir, &log)
		sent := len(deliver(t, sb, 0))
		WaitFor(t, "mail with the broker there", func() bool { return len(arrived(t, dir)) == sent })
		WaitFor(t, "a watch of both mailboxes", func() bool {
			all := broker.Watched()
			return len(all) == 1 && len(all[0]) == len(mailboxes)
		})
		broker.Stop()
		newSession := w.interrupt(sb)
		sent += len(deliver(t, sb, 1))
		WaitFor(t, "mail without the broker", func() bool { return len(arrived(t, dir)) == sent })
		if !newSession() {
			t.Error("the old sessions went on, so nothing was shown")
		}
		broker.Start()
		sent += len(deliver(t, sb, 2))
		WaitFor(t, "mail after the outage", func() bool { return len(arrived(t, dir)) == sent })
		w.mustBeHealthy(t, admin)
		stop()
		if strings.Contains(log.String(), `"level":"ERROR"`) {
			t.Errorf("somebody was called for an outage that did no harm:\n%s", log.String())
		}
	})
}

// interrupt ends the session of every mailbox; renewed says whether each has logged in again.
func (w Inbound) interrupt(sb *sandbox.Sandbox) (renewed func() bool) {
	if w.Interrupt == nil {
		return func() bool { return true }
	}
	before := w.Logins(sb)
	for _, mailbox := range mailboxes {
		w.Interrupt(sb, mailbox)
	}
	return func() bool { return w.Logins(sb)-before >= len(mailboxes) }
}

func mustEqual(t *testing.T, got, want [][]byte) {
	t.Helper()
	slices.SortFunc(got, bytes.Compare)
	slices.SortFunc(want, bytes.Compare)
	if !slices.EqualFunc(got, want, bytes.Equal) {
		t.Error("the messages are not the ones that were sent, byte for byte")
	}
}

// minted are the tokens that were handed out.
type minted struct {
	mu  sync.Mutex
	all []string
}

func (m *minted) mint(sb *sandbox.Sandbox, w Inbound) (string, time.Time, error) {
	return m.add(sb.Issuer().Access(idp.Claims{Tenant: tenant, Client: "app", Audience: w.Audience, Roles: []string{w.Role}}))
}

// add remembers what was made.
func (m *minted) add(token string, c idp.Claims, err error) (string, time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = append(m.all, token)
	return token, c.Expires, err
}

// mustBeHidden fails if a token is in the log.
func (m *minted) mustBeHidden(t *testing.T, log *Log) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, token := range m.all {
		if strings.Contains(log.String(), token) {
			t.Error("a token is in the log")
		}
	}
}

// broker hands out the sandbox's tokens and notes them.
func (w Inbound) broker(t *testing.T, sb *sandbox.Sandbox, tokens *minted) *brokertest.Broker {
	t.Helper()
	b := brokertest.New(t)
	b.OnMint(func(tokenclient.Ask) (string, time.Time, error) { return tokens.mint(sb, w) })
	b.SetMailboxes(w.settings(t, sb)...)
	return b
}

func (w Inbound) sandbox(t *testing.T, life time.Duration) *sandbox.Sandbox {
	t.Helper()
	return provider(t, life, w.Role)
}

// provider is a sandbox with the mailboxes and an application with these permissions, whose tokens live so long.
func provider(t *testing.T, life time.Duration, roles ...string) *sandbox.Sandbox {
	t.Helper()
	sb, err := sandbox.Start(sandbox.Config{
		TokenLife: life,
		Tenants: []sandbox.Tenant{{
			ID: tenant, Domains: []string{"contoso.example"},
			Apps:  []sandbox.App{{ClientID: "app", Roles: roles, Mailboxes: []string{"*"}}},
			Users: []sandbox.User{{Address: mailboxes[0]}, {Address: mailboxes[1]}, {Address: unnoticed}},
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sb.Close(); err != nil {
			t.Error(err)
		}
	})
	return sb
}

func (w Inbound) settings(t *testing.T, sb *sandbox.Sandbox) (all []tokenclient.Settings) {
	t.Helper()
	_, port, err := net.SplitHostPort(w.Address(sb))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	junk := tokenclient.JunkCount
	if w.Protocol == tokenclient.POP3 {
		junk = tokenclient.JunkIgnore // it cannot look there
	}
	for i, mailbox := range mailboxes {
		all = append(all, tokenclient.Settings{
			Mailbox: mailbox, Direction: tokenclient.Inbound, Protocol: w.Protocol, Margin: time.Second, Version: "1",
			Endpoint: tokenclient.Endpoint{Server: "localhost", Port: n, Security: tokenclient.TLS, User: mailbox,
				Mechanism: w.Mechanism, Impersonate: w.Impersonate, TwoLine: w.TwoLine, ConnectTimeout: 10 * time.Second, ProtocolTimeout: 10 * time.Second},
			Inbound: tokenclient.InboundSettings{Folders: []string{"INBOX"}, CycleTime: time.Second, DeliverTo: "default",
				After: []tokenclient.After{tokenclient.Keep, tokenclient.Delete}[i], Junk: junk},
		})
	}
	return all
}

// configure writes the worker's file and returns its folder and the admin address.
func configure(t *testing.T, sb *sandbox.Sandbox, broker string) (dir, admin string) {
	t.Helper()
	dir, admin = t.TempDir(), FreeAddress(t)
	text := fmt.Sprintf("broker: {address: %q, insecure: true}\nstate: file:state\nsinks: {default: {maildir: %q}}\nadmin: %q\ntrusted-ca: [ca.pem]\n",
		broker, "mail/{mailbox}", admin)
	for name, content := range map[string][]byte{"worker.yaml": []byte(text), "ca.pem": sb.CAPEM()} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, admin
}

func deliver(t *testing.T, sb *sandbox.Sandbox, round int) (all [][]byte) {
	t.Helper()
	for i, mailbox := range mailboxes {
		for n := range 10 {
			raw := fmt.Appendf(nil, "Message-ID: <%d.%d.%d@test.example>\r\n\r\n.dot\r\n\xe4%s\r\n", round, i, n, strings.Repeat("x", n*5000))
			if _, err := sb.Store().Deliver(raw, []mailstore.Target{{Mailbox: mailbox, Folder: "INBOX"}}, nil); err != nil {
				t.Fatal(err)
			}
			all = append(all, raw)
		}
	}
	return all
}

// arrived is what lies in the Maildirs.
func arrived(t *testing.T, dir string) (all [][]byte) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "mail", "*", "new", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	return all
}

// mustBeHealthy asks the admin listener.
func (w Inbound) mustBeHealthy(t *testing.T, admin string) {
	t.Helper()
	if Page(admin, "/readyz") == "" {
		t.Error("the worker is not ready")
	}
	// A message lies in the Maildir a moment before it is counted.
	want := fmt.Sprintf(`inbound_messages_total{kind="delivered",protocol=%q} 60`, w.Protocol)
	WaitFor(t, want, func() bool { return strings.Contains(Page(admin, "/metrics"), want) })
	WaitFor(t, "two healthy folders on the status page", func() bool { return healthy(t, Page(admin, "/mailboxes")) })
}

// healthy says whether a status page has two folders without failures that delivered all.
func healthy(t *testing.T, page string) bool {
	t.Helper()
	var all []inbound.FolderStatus
	if err := json.Unmarshal([]byte(page), &all); err != nil {
		t.Fatal(err)
	}
	sick := func(s inbound.FolderStatus) bool {
		return s.Failure != nil || s.Delivered != 30 || s.LastSuccess.IsZero()
	}
	return len(all) == 2 && !slices.ContainsFunc(all, sick)
}
