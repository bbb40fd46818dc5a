package ews_test

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
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
	"mailporter/workers/internal/ews"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	tenant  = "6f1d2c3b-0a49-4d57-8e6a-b1c2d3e4f506"
	support = "support@contoso.example"
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
			Apps:  []sandbox.App{{ClientID: "app", Roles: []string{"full_access_as_app"}, Mailboxes: []string{"*"}}},
			Users: []sandbox.User{{Address: support}},
		}},
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
func (w *world) mint(tokenclient.Ask) (string, time.Time, error) {
	claims := idp.Claims{Tenant: tenant, Client: "app", Audience: idp.Outlook365, Roles: []string{"full_access_as_app"}}
	w.mu.Lock()
	defer w.mu.Unlock()
	token, _, err := w.sandbox.Issuer().Access(claims)
	w.tokens = append(w.tokens, token)
	return token, time.Now().Add(w.life), err
}

func (w *world) secrets() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.tokens)
}

// settings are those of the mailbox.
func (w *world) settings(t *testing.T) tokenclient.Settings {
	t.Helper()
	u, err := url.Parse(w.sandbox.EWSURL())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	return tokenclient.Settings{
		Mailbox: w.mailbox, Direction: tokenclient.Inbound, Protocol: tokenclient.EWS, Margin: time.Second,
		Endpoint: tokenclient.Endpoint{
			Server: "localhost", Port: n, Security: tokenclient.TLS, User: w.mailbox, Mechanism: tokenclient.Bearer, Impersonate: true,
			ConnectTimeout: time.Minute, ProtocolTimeout: time.Minute, // a loaded machine is slow with 30 MB
		},
		Inbound: tokenclient.InboundSettings{Folders: []string{"INBOX"}, CycleTime: time.Minute, After: tokenclient.Keep, AfterFolder: "Done/Größe"},
	}
}

// source makes a Source with these settings, known to the broker.
func (w *world) source(t *testing.T, s tokenclient.Settings, folder string) *ews.Source {
	t.Helper()
	return w.sourceFrom(t, ews.Config{Settings: s, Folder: folder, Broker: w.client, Roots: w.sandbox.CertPool()})
}

func (w *world) sourceFrom(t *testing.T, c ews.Config) *ews.Source {
	t.Helper()
	w.broker.SetMailboxes(c.Settings)
	src, err := ews.New(c)
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

func (w *world) deliver(t *testing.T, folder string, raw []byte) {
	t.Helper()
	received := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) // equal, so that equal messages are
	if _, err := w.sandbox.Store().Deliver(raw, []mailstore.Target{{Mailbox: w.mailbox, Folder: folder, Received: received}}, nil); err != nil {
		t.Fatal(err)
	}
}

func (w *world) holds(t *testing.T, folder string) (all [][]byte) {
	t.Helper()
	for _, m := range w.folder(t, folder).Messages {
		raw, err := m.Raw()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, raw)
	}
	return all
}

func (w *world) folder(t *testing.T, folder string) mailstore.Folder {
	t.Helper()
	f, err := w.sandbox.Store().Folder(w.mailbox, folder)
	if err != nil && !errors.Is(err, mailstore.ErrNoFolder) {
		t.Fatal(err)
	}
	return f
}

func (w *world) remove(t *testing.T, folder string, raw []byte) {
	t.Helper()
	for _, m := range w.folder(t, folder).Messages {
		if b, err := m.Raw(); err != nil || string(b) != string(raw) {
			continue
		}
		store := w.sandbox.Store()
		if err := store.SetFlags(w.mailbox, folder, []uint32{m.UID}, mailstore.FlagsAdd, []string{`\Deleted`}); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Expunge(w.mailbox, folder, []uint32{m.UID}); err != nil {
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

func (w *world) fault(r fault.Rule) string {
	r.Target = fault.EWS
	return w.sandbox.Faults().Add(r)
}
