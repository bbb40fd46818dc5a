package main

import (
	"fmt"
	"net"
	"net/smtp"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/kit/tokenclient/brokertest"
	"mailporter/sandbox"
	"mailporter/sandbox/idp"
	"mailporter/workers/internal/program/programtest"
)

const (
	tenant = "6f1d2c3b-0a49-4d57-8e6a-b1c2d3e4f506"
	inbox  = "inbox@contoso.example" // gets everything
)

var mailboxes = []string{"support@contoso.example", "sales@contoso.example", "office@contoso.example"}

// world is a provider, a broker and the folder of a worker.
type world struct {
	sandbox *sandbox.Sandbox
	broker  *brokertest.Broker
	dir     string
	admin   string
	intake  string

	mu     sync.Mutex
	tokens []string
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{sandbox: startSandbox(t), broker: brokertest.New(t), dir: t.TempDir()}
	w.broker.OnMint(w.mint)
	w.broker.SetMailboxes(settings(t, w.sandbox)...)
	w.admin, w.intake = programtest.FreeAddress(t), programtest.FreeAddress(t)
	text := fmt.Sprintf("broker: {address: %q, insecure: true}\nstate: file:state\nintake: {smtp: {listen: %q}}\nadmin: %q\ntrusted-ca: [ca.pem]\n",
		w.broker.Listen(t, nil), w.intake, w.admin)
	for name, content := range map[string][]byte{"worker.yaml": []byte(text), "ca.pem": w.sandbox.CAPEM()} {
		if err := os.WriteFile(filepath.Join(w.dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// mint makes a token of three seconds.
func (w *world) mint(a tokenclient.Ask) (string, time.Time, error) {
	role := "SMTP.SendAsApp"
	if a.Direction == tokenclient.Inbound {
		role = "IMAP.AccessAsApp"
	}
	token, c, err := w.sandbox.Issuer().Access(idp.Claims{
		Tenant: tenant, Client: "app", Audience: "https://outlook.office365.com", Roles: []string{role},
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tokens = append(w.tokens, token)
	return token, c.Expires, err
}

func startSandbox(t *testing.T) *sandbox.Sandbox {
	t.Helper()
	users := []sandbox.User{{Address: inbox}}
	for _, m := range mailboxes {
		users = append(users, sandbox.User{Address: m, Password: password})
	}
	sb, err := sandbox.Start(sandbox.Config{
		TokenLife: 3 * time.Second,
		Tenants: []sandbox.Tenant{{
			ID: tenant, Domains: []string{"contoso.example"}, Users: users,
			Apps: []sandbox.App{{ClientID: "app", Roles: []string{"SMTP.SendAsApp", "IMAP.AccessAsApp", "Mail.ReadWrite", "full_access_as_app"}, Mailboxes: []string{"*"}}},
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

func settings(t *testing.T, sb *sandbox.Sandbox) (all []tokenclient.Settings) {
	t.Helper()
	_, port, err := net.SplitHostPort(sb.SMTPAddr())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	for _, mailbox := range mailboxes {
		all = append(all, tokenclient.Settings{
			Mailbox: mailbox, Direction: tokenclient.Outbound, Protocol: tokenclient.SMTP, Margin: time.Second, Version: "1",
			Endpoint: tokenclient.Endpoint{
				Server: "localhost", Port: n, Security: tokenclient.StartTLS, User: mailbox, Mechanism: tokenclient.XOAUTH2,
				ConnectTimeout: 10 * time.Second, ProtocolTimeout: 10 * time.Second,
			},
			Outbound: tokenclient.OutboundSettings{
				PoolSize: 3, CheckIdle: time.Minute, MaxIdle: time.Minute, OnUnknown: tokenclient.RetryUnknown,
			},
		})
	}
	return all
}

// letter is message number n, with what goes wrong on the way elsewhere.
func letter(n int) []byte {
	body := []string{".\r\n..\r\n.x\r\n", "caf\xe9\r\n", strings.Repeat("long", 5000) + "\r\n", "\r\n\r\n", strings.Repeat("0123456789\r\n", n*50)}[n%5]
	return fmt.Appendf(nil, "From: <%s>\r\nMessage-ID: <%d@test.example>\r\nSubject: %d\r\n\r\n%s", mailboxes[n%3], n, n, body)
}

// submit hands letters in over one connection, until one fails, and says how many were taken.
func (w *world) submit(letters ...int) (taken int, err error) {
	c, err := smtp.Dial(w.intake)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	for _, n := range letters {
		if err := hand(c, n); err != nil {
			return taken, err
		}
		taken++
	}
	return taken, c.Quit()
}

func hand(c *smtp.Client, n int) error {
	if err := c.Mail(mailboxes[n%3]); err != nil {
		return err
	}
	if err := c.Rcpt(inbox); err != nil {
		return err
	}
	to, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := to.Write(letter(n)); err != nil {
		return err
	}
	return to.Close()
}

// arrived counts what lies in the inbox.
func (w *world) arrived(t *testing.T) map[string]int {
	t.Helper()
	f, err := w.sandbox.Store().Folder(inbox, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, m := range f.Messages {
		b, err := m.Raw()
		if err != nil {
			t.Fatal(err)
		}
		got[string(b)]++
	}
	return got
}

// mustHaveAll compares bytes: every letter arrived, nothing else did; it returns how many came more than once.
func (w *world) mustHaveAll(t *testing.T, n int) (doubled int) {
	t.Helper()
	got := w.arrived(t)
	for i := range n {
		switch count := got[string(letter(i))]; {
		case count == 0:
			t.Errorf("letter %d is lost or altered", i)
		case count > 1:
			doubled++
		}
		delete(got, string(letter(i)))
	}
	if len(got) > 0 {
		t.Errorf("%d messages arrived that nobody sent", len(got))
	}
	return doubled
}

// ask reads a page of the admin listener; empty if it does not answer 200.
func (w *world) ask(path string) string {
	return programtest.Page(w.admin, path)
}
