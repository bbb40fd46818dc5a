package programtest

import (
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailporter/kit/daemon"
	"mailporter/kit/tokenclient"
	"mailporter/kit/tokenclient/brokertest"
	"mailporter/sandbox"
	"mailporter/sandbox/idp"
	"mailporter/workers/internal/setup"
)

// Both is a worker that fetches mail and sends it, and what it needs of a provider.
type Both struct {
	App         daemon.App[setup.Config]
	Protocol    tokenclient.Protocol
	Mechanism   tokenclient.Mechanism
	Roles       []string // the application's permissions
	Audience    string   // of the tokens
	Impersonate bool     // EWS
	Address     func(*sandbox.Sandbox) string
}

// letters is how many go round.
const letters = 30

// Circle tries the whole worker: what a program hands in by SMTP or as a file goes through the outbox to the provider, is fetched from
// its recipient's mailbox by the same process, and lies in a Maildir, once and byte for byte; a copy is in Sent Items.
func Circle(t *testing.T, w Both) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	var log Log
	var tokens minted
	t.Run("", func(t *testing.T) { // its cleanups end before the leak check
		sb := provider(t, 3*time.Second, w.Roles...)
		broker := brokertest.New(t)
		broker.OnMint(func(tokenclient.Ask) (string, time.Time, error) { return tokens.add(w.access(sb)) })
		broker.SetMailboxes(w.settings(t, sb)...)
		dir, admin := configure(t, sb, broker.Listen(t, nil))
		door := addIntake(t, dir)
		stop := Start(t, w.App, dir, &log)
		WaitFor(t, "readiness", func() bool { return Page(admin, "/readyz") != "" })
		var want [][]byte
		for n := range letters {
			want = append(want, letter(n))
			hand(t, dir, door, n)
		}
		WaitFor(t, "the last letter", func() bool { return len(arrived(t, dir)) == letters })
		mustEqual(t, arrived(t, dir), slices.Clone(want))
		mustEqual(t, sentItems(t, sb), slices.Clone(want))
		WaitFor(t, "an empty outbox", func() bool { return strings.TrimSpace(Page(admin, "/outbox")) == "[]" })
		w.mustShowBoth(t, admin)
		stop()
	})
	tokens.mustBeHidden(t, &log)
}

// hand gives a letter to the worker: every third one as a file, the others by SMTP.
func hand(t *testing.T, dir, door string, n int) {
	t.Helper()
	if n%3 != 0 {
		if err := smtp.SendMail(door, nil, mailboxes[0], mailboxes[1:], letter(n)); err != nil {
			t.Fatal(err)
		}
		return
	}
	text := append(fmt.Appendf(nil, "X-Sender: %s\r\nX-Receiver: %s\r\n", mailboxes[0], mailboxes[1]), letter(n)...)
	path := filepath.Join(dir, "drop", strconv.Itoa(n))
	if err := errors.Join(os.WriteFile(path+".tmp", text, 0o600), os.Rename(path+".tmp", path+".eml")); err != nil {
		t.Fatal(err)
	}
}

func letter(n int) []byte {
	return fmt.Appendf(nil, "From: <%s>\r\nTo: <%s>\r\nMessage-ID: <%d@test.example>\r\nSubject: %d\r\n\r\n.dot\r\n\xe4%s\r\n",
		mailboxes[0], mailboxes[1], n, n, strings.Repeat("0123456789\r\n", n*40))
}

func (w Both) access(sb *sandbox.Sandbox) (string, idp.Claims, error) {
	return sb.Issuer().Access(idp.Claims{Tenant: tenant, Client: "app", Audience: w.Audience, Roles: w.Roles})
}

// settings: the first mailbox sends, the second one's mail is fetched.
func (w Both) settings(t *testing.T, sb *sandbox.Sandbox) (all []tokenclient.Settings) {
	t.Helper()
	_, port, err := net.SplitHostPort(w.Address(sb))
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	for i, mailbox := range mailboxes {
		all = append(all, tokenclient.Settings{
			Mailbox: mailbox, Direction: []tokenclient.Direction{tokenclient.Outbound, tokenclient.Inbound}[i], Protocol: w.Protocol,
			Margin: time.Second, Version: "1",
			Endpoint: tokenclient.Endpoint{Server: "localhost", Port: n, Security: tokenclient.TLS, User: mailbox,
				Mechanism: w.Mechanism, Impersonate: w.Impersonate, ConnectTimeout: 10 * time.Second, ProtocolTimeout: 10 * time.Second},
		})
	}
	all[0].Outbound = tokenclient.OutboundSettings{PoolSize: 4, OnUnknown: tokenclient.RetryUnknown}
	all[1].Inbound = tokenclient.InboundSettings{Folders: []string{"INBOX"}, CycleTime: time.Second, DeliverTo: "default",
		After: tokenclient.Delete, Junk: tokenclient.JunkIgnore}
	return all
}

// addIntake gives the worker's file a way in and returns its address.
func addIntake(t *testing.T, dir string) string {
	t.Helper()
	path, door := filepath.Join(dir, "worker.yaml"), FreeAddress(t)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b = fmt.Appendf(b, "intake: {folder: drop, smtp: {listen: %q}}\n", door)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return door
}

func sentItems(t *testing.T, sb *sandbox.Sandbox) (all [][]byte) {
	t.Helper()
	f, err := sb.Store().Folder(mailboxes[0], "Sent Items")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range f.Messages {
		raw, err := m.Raw()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, raw)
	}
	return all
}

// mustShowBoth: one status page has both mailboxes, and the metrics count both directions.
func (w Both) mustShowBoth(t *testing.T, admin string) {
	t.Helper()
	for _, mailbox := range mailboxes {
		if !strings.Contains(Page(admin, "/mailboxes"), strconv.Quote(mailbox)) {
			t.Errorf("the status page lacks %s: %s", mailbox, Page(admin, "/mailboxes"))
		}
	}
	for _, want := range []string{
		fmt.Sprintf(`inbound_messages_total{kind="delivered",protocol=%q} %d`, w.Protocol, letters),
		fmt.Sprintf(`outbound_attempts_total{kind="sent",protocol=%q} %d`, w.Protocol, letters),
		fmt.Sprintf(`intake_messages_total{door="folder",outcome="taken"} %d`, letters/3),
	} {
		WaitFor(t, want, func() bool { return strings.Contains(Page(admin, "/metrics"), want) })
	}
}
