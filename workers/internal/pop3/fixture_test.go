package pop3_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailporter/kit/tokenclient"
	"mailporter/kit/tokenclient/brokertest"
	"mailporter/sandbox"
	"mailporter/sandbox/fault"
	"mailporter/sandbox/idp"
	"mailporter/sandbox/mailstore"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/pop3"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	tenant  = "6f1d2c3b-0a49-4d57-8e6a-b1c2d3e4f506"
	support = "support@contoso.example"
	nopop   = "nopop@contoso.example"
	gmail   = "orders@gmail.example"
	pass    = "basic-marker-8841"
)

// world is a provider with a broker beside it and one mailbox to read.
type world struct {
	sandbox *sandbox.Sandbox
	broker  *brokertest.Broker
	client  *tokenclient.Client
	mailbox string

	mu     sync.Mutex
	tokens []string
	life   time.Duration // what the broker is told; the sandbox's own is an hour
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldWith(t, func(*sandbox.Config) {})
}

func newWorldWith(t *testing.T, change func(*sandbox.Config)) *world {
	t.Helper()
	config := sandbox.Config{
		Tenants: []sandbox.Tenant{{
			ID: tenant, Domains: []string{"contoso.example"},
			Apps:  []sandbox.App{{ClientID: "app", Roles: []string{"POP.AccessAsApp"}, Mailboxes: []string{"*"}}},
			Users: []sandbox.User{{Address: support, Password: pass}, {Address: nopop, POPDisabled: true}},
		}},
		Google: sandbox.GoogleConfig{Clients: []sandbox.GoogleClient{{ID: "g", Secret: "s"}}, Users: []sandbox.GoogleUser{{Address: gmail}}},
	}
	change(&config)
	sb, err := sandbox.Start(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sb.Close(); err != nil {
			t.Error(err)
		}
	})
	w := &world{sandbox: sb, mailbox: support, broker: brokertest.New(t), life: time.Hour}
	w.broker.OnMint(w.mint)
	w.client = w.broker.Client(t)
	return w
}

// mint makes a token of the sandbox.
func (w *world) mint(a tokenclient.Ask) (string, time.Time, error) {
	claims := idp.Claims{Tenant: tenant, Client: "app", Audience: "https://outlook.office365.com", Roles: []string{"POP.AccessAsApp"}}
	if a.Mailbox == gmail {
		claims = idp.Claims{Tenant: idp.GoogleTenant, Client: "g", User: gmail, Scopes: []string{"https://mail.google.com/"}}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	token, _, err := w.sandbox.Issuer().Access(claims)
	w.tokens = append(w.tokens, token)
	return token, time.Now().Add(w.life), err
}

func (w *world) secrets() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string{pass}, w.tokens...)
}

// settings are those of the mailbox at its server.
func (w *world) settings(t *testing.T) tokenclient.Settings {
	t.Helper()
	address := w.sandbox.POP3Addr()
	if w.mailbox == gmail {
		address = w.sandbox.GmailPOP3Addr()
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return tokenclient.Settings{
		Mailbox: w.mailbox, Direction: tokenclient.Inbound, Protocol: tokenclient.POP3, Margin: time.Second,
		Endpoint: tokenclient.Endpoint{
			Server: "localhost", Port: n, Security: tokenclient.TLS, User: w.mailbox, Mechanism: tokenclient.XOAUTH2, TwoLine: w.mailbox != gmail,
			ConnectTimeout: 20 * time.Second, ProtocolTimeout: 20 * time.Second,
		},
		Inbound: tokenclient.InboundSettings{Folders: []string{"INBOX"}, CycleTime: time.Minute, After: tokenclient.Keep},
	}
}

// source makes a Source with these settings, known to the broker.
func (w *world) source(t *testing.T, s tokenclient.Settings) *pop3.Source {
	t.Helper()
	w.broker.SetMailboxes(s)
	src, err := pop3.New(pop3.Config{Settings: s, Folder: "INBOX", Broker: w.client, Roots: w.sandbox.CertPool()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	})
	return src
}

func (w *world) deliver(t *testing.T, raw []byte) {
	t.Helper()
	if _, err := w.sandbox.Store().Deliver(raw, []mailstore.Target{{Mailbox: w.mailbox, Folder: "INBOX"}}, nil); err != nil {
		t.Fatal(err)
	}
}

func (w *world) messages(t *testing.T) []*mailstore.Message {
	t.Helper()
	f, err := w.sandbox.Store().Folder(w.mailbox, "INBOX")
	if err != nil && !errors.Is(err, mailstore.ErrNoFolder) {
		t.Fatal(err)
	}
	return f.Messages
}

func (w *world) holds(t *testing.T) (all [][]byte) {
	t.Helper()
	for _, m := range w.messages(t) {
		raw, err := m.Raw()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, raw)
	}
	return all
}

func (w *world) remove(t *testing.T, raw []byte) {
	t.Helper()
	for _, m := range w.messages(t) {
		if b, err := m.Raw(); err != nil || string(b) != string(raw) {
			continue
		}
		store := w.sandbox.Store()
		if err := store.SetFlags(w.mailbox, "INBOX", []uint32{m.UID}, mailstore.FlagsAdd, []string{`\Deleted`}); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Expunge(w.mailbox, "INBOX", []uint32{m.UID}); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Fatal("no such message to remove")
}

// letter is a message of its own.
func letter(i int) []byte {
	return fmt.Appendf(nil, "Message-ID: <%d@test.example>\r\nSubject: %d\r\n\r\nbody %d\r\n", i, i, i)
}

// withLineEnd is a message as POP3 carries it: RFC 1939 section 3 ends it with a line end.
func withLineEnd(raw []byte) []byte {
	if n := len(raw); n == 0 || n >= 2 && string(raw[n-2:]) == "\r\n" {
		return raw
	}
	return append(raw[:len(raw):len(raw)], "\r\n"...)
}

func (w *world) fault(r fault.Rule) string {
	r.Target = fault.POP3
	return w.sandbox.Faults().Add(r)
}

// page lists everything.
func page(t *testing.T, s *pop3.Source, after inbound.Cursor) inbound.Page {
	t.Helper()
	p, err := s.List(t.Context(), after, 100)
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	return p
}

func ids(p inbound.Page) (all []string) {
	for _, it := range p.Items {
		all = append(all, it.ID)
	}
	return all
}

func read(t *testing.T, s *pop3.Source, id string) []byte {
	t.Helper()
	r, err := s.Open(t.Context(), id)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	b, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatalf("read: %v", err)
	}
	return b
}
