package providertest

import (
	"net"
	"net/url"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/kit/tokenclient/brokertest"
	"mailporter/sandbox"
	"mailporter/sandbox/fault"
	"mailporter/sandbox/idp"
)

// Who is there.
const (
	Tenant   = "6f1d2c3b-0a49-4d57-8e6a-b1c2d3e4f506"
	Support  = "support@contoso.example"
	Password = "basic-marker-8841" // of Support
	Gmail    = "orders@gmail.example"
)

// An Edge is what differs between the protocols.
type Edge struct {
	Protocol tokenclient.Protocol
	Target   string   // the server, in package fault's words, where Fault makes trouble
	Audience string   // of the tokens at Exchange; empty = idp.Outlook365
	Roles    []string // the application's permissions
}

// World is a provider with a broker beside it and one mailbox.
type World struct {
	Sandbox *sandbox.Sandbox
	Broker  *brokertest.Broker
	Client  *tokenclient.Client
	Mailbox string // Support, until a test chooses another one

	edge Edge

	mu     sync.Mutex
	tokens []string
	life   time.Duration
}

// New starts both. change sees the provider's configuration first: a tenant with an application that may reach every
// mailbox and the user Support, and Google with the user Gmail.
func New(t *testing.T, e Edge, change func(*sandbox.Config)) *World {
	t.Helper()
	if e.Audience == "" {
		e.Audience = idp.Outlook365
	}
	w := &World{Sandbox: start(t, e, change), Mailbox: Support, Broker: brokertest.New(t), life: time.Hour, edge: e}
	w.Broker.OnMint(w.Mint)
	w.Client = w.Broker.Client(t)
	return w
}

func start(t *testing.T, e Edge, change func(*sandbox.Config)) *sandbox.Sandbox {
	t.Helper()
	config := sandbox.Config{
		Tenants: []sandbox.Tenant{{
			ID: Tenant, Domains: []string{"contoso.example"},
			Apps:  []sandbox.App{{ClientID: "app", Roles: e.Roles, Mailboxes: []string{"*"}}},
			Users: []sandbox.User{{Address: Support, Password: Password}},
		}},
		Google: sandbox.GoogleConfig{Clients: []sandbox.GoogleClient{{ID: "g", Secret: "s"}}, Users: []sandbox.GoogleUser{{Address: Gmail}}},
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
	return sb
}

// Mint makes a token of the application for Exchange, or of the user for Google. It is the broker's, until a test gives
// it another one.
func (w *World) Mint(a tokenclient.Ask) (string, time.Time, error) {
	claims := idp.Claims{Tenant: Tenant, Client: "app", Audience: w.edge.Audience, Roles: w.edge.Roles}
	if a.Mailbox == Gmail {
		claims = idp.Claims{Tenant: idp.GoogleTenant, Client: "g", User: Gmail, Scopes: []string{"https://mail.google.com/"}}
	}
	return w.MintFor(claims)
}

// MintFor makes a token with these claims.
func (w *World) MintFor(c idp.Claims) (string, time.Time, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	token, _, err := w.Sandbox.Issuer().Access(c)
	w.tokens = append(w.tokens, token)
	return token, time.Now().Add(w.life), err
}

// Live is how long the broker says that tokens live from now on; the sandbox takes them for an hour.
func (w *World) Live(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.life = d
}

// Secrets are all tokens so far, and the password.
func (w *World) Secrets() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append(slices.Clone(w.tokens), Password)
}

// Settings are those of fetching from the mailbox's INBOX with tokens, where a server of the provider listens: its URL, or
// host:port.
func (w *World) Settings(t *testing.T, address string, m tokenclient.Mechanism) tokenclient.Settings {
	t.Helper()
	return tokenclient.Settings{
		Mailbox: w.Mailbox, Direction: tokenclient.Inbound, Protocol: w.edge.Protocol, Margin: time.Second,
		Endpoint: tokenclient.Endpoint{
			Server: "localhost", Port: port(t, address), Security: tokenclient.TLS, User: w.Mailbox, Mechanism: m,
			ConnectTimeout: 10 * time.Second, ProtocolTimeout: time.Minute,
		},
		Inbound: tokenclient.InboundSettings{Folders: []string{"INBOX"}, CycleTime: time.Minute, After: tokenclient.Keep, AfterFolder: "Done/Größe"},
	}
}

// port is that of a URL or of host:port.
func port(t *testing.T, address string) int {
	t.Helper()
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		address = u.Host
	}
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Fault makes trouble at the edge's server and returns the rule's id.
func (w *World) Fault(r fault.Rule) string {
	r.Target = w.edge.Target
	return w.Sandbox.Faults().Add(r)
}
