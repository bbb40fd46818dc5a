package google_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailporter/broker/internal/grant/google"
	"mailporter/broker/internal/grant/wire"
	"mailporter/broker/internal/keeper/keepertest"
	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
	"mailporter/kit/secret"
	"mailporter/sandbox"
	"mailporter/sandbox/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	client       = "client.apps.example"
	clientSecret = "GOCSPX-example"
	user         = "orders@gmail.example"
	robot        = "broker@project.example"
	scope        = "https://mail.google.com/"
)

func open(t *testing.T) keepertest.Provider {
	return openWith(t, func(*sandbox.GoogleConfig) {})
}

func openWith(t *testing.T, change func(*sandbox.GoogleConfig)) keepertest.Provider {
	config := sandbox.Config{TokenLife: 3599 * time.Second, Google: sandbox.GoogleConfig{
		Clients: []sandbox.GoogleClient{{ID: client, Secret: clientSecret}, {ID: "off", Secret: clientSecret, Disabled: true}, {ID: "other", Secret: clientSecret}},
		Users:   []sandbox.GoogleUser{{Address: user}},
	}}
	change(&config.Google)
	sb, err := sandbox.Start(config)
	if err != nil {
		t.Fatal(err)
	}
	g, err := google.New(wire.Options{Roots: sb.CertPool(), Authorities: func() []string { return []string{wire.Host(sb.Authority())} }, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.Close()
		if err := sb.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return provider(sb, g)
}

func provider(sb *sandbox.Sandbox, g *google.Grant) keepertest.Provider {
	refresh := secret.New(sb.IssueRefreshToken("google", client, user, scope))
	c := token.Credential{
		Provider: token.Google, Grant: token.RefreshToken, Authority: sb.GoogleAuthority() + "/token", ClientID: client,
		Secrets: []secret.String{secret.New(clientSecret)}, User: user, Refresh: refresh,
	}
	but := func(change func(*token.Credential)) token.Credential {
		c := c
		change(&c)
		return c
	}
	rule := func(r fault.Rule) {
		r.Target, r.Step, r.Count = fault.Identity, "google-token", 1
		sb.Faults().Add(r)
	}
	return keepertest.Provider{
		Grant: g, Credential: c, Refresh: refresh, Audience: scope, Life: 3599 * time.Second,
		Bad: map[string]token.Credential{
			"CLIENT_SECRET_INVALID":    but(func(c *token.Credential) { c.Secrets = []secret.String{secret.New("wrong")} }),
			"APPLICATION_DISABLED":     but(func(c *token.Credential) { c.ClientID = "off" }),
			"APPLICATION_NOT_ALLOWED":  but(func(c *token.Credential) { c.ClientID = "other" }),
			"REQUEST_REFUSED":          but(func(c *token.Credential) { c.Secrets = nil }),
			"REAUTHORIZATION_REQUIRED": but(func(c *token.Credential) { c.Refresh = secret.New("1//0wrong") }),
			"GRANT_NOT_SERVED":         but(func(c *token.Credential) { c.Grant = token.Password }),
			"AUTHORITY_NOT_ALLOWED":    but(func(c *token.Credential) { c.Authority = "https://google.evil.example/token" }),
		},
		Requests: func() int { return sb.TokenRequests().Total },
		Reply: func(a keepertest.Answer) {
			rule(fault.Rule{Action: fault.Reply, Status: a.Status, Header: a.Header, Body: a.Body})
		},
		Cut:        func(bytes int) { rule(fault.Rule{Action: fault.Cut, Bytes: bytes}) },
		Trickle:    func(bytes int) { rule(fault.Rule{Action: fault.Trickle, Bytes: bytes, Delay: 50 * time.Millisecond}) },
		Stall:      func() { rule(fault.Rule{Action: fault.Stall}) },
		LoseAnswer: func() { rule(fault.Rule{Action: fault.LoseAnswer}) },
	}
}

func TestRefreshToken(t *testing.T) { keepertest.Grant(t, open) }

// keys are the service account's and a stranger's: making them takes long.
var keys = sync.OnceValues(func() (pair [2]*rsa.PrivateKey, err error) {
	for i := range pair {
		if pair[i], err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
			break
		}
	}
	return pair, err
})

// key is the i-th of keys in PEM, and its public half.
func key(t *testing.T, i int) (private secret.String, public string) {
	t.Helper()
	pair, err := keys()
	if err != nil {
		t.Fatal(err)
	}
	k := pair[i]
	secretPart, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	publicPart, err := x509.MarshalPKIXPublicKey(k.Public())
	if err != nil {
		t.Fatal(err)
	}
	armour := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return secret.New(armour("PRIVATE KEY", secretPart)), armour("PUBLIC KEY", publicPart)
}

// delegated is the suite's provider with a service account in place of a user's consent.
func delegated(t *testing.T) keepertest.Provider {
	private, public := key(t, 0)
	stranger, _ := key(t, 1)
	p := openWith(t, func(c *sandbox.GoogleConfig) {
		account := func(email string) sandbox.ServiceAccount {
			return sandbox.ServiceAccount{Email: email, ClientID: "1001", Keys: []sandbox.ServiceKey{{ID: "k1", Key: public}}, Domains: []string{"gmail.example"}, Scopes: []string{scope}}
		}
		undelegated, off := account("undelegated@project.example"), account("off@project.example")
		undelegated.Scopes, off.Disabled = nil, true
		c.ServiceAccounts = []sandbox.ServiceAccount{account(robot), undelegated, off}
	})
	c := token.Credential{Provider: token.Google, Grant: token.ServiceAccount, Authority: p.Credential.Authority, ClientID: robot, User: user,
		Robot: token.Robot{Number: "1001", KeyID: "k1", Key: private}}
	but := func(change func(*token.Credential)) token.Credential {
		c := c
		change(&c)
		return c
	}
	p.Credential, p.Refresh = c, secret.String{}
	p.Bad = map[string]token.Credential{
		"CLIENT_ASSERTION_INVALID": but(func(c *token.Credential) { c.Robot.Key = stranger }),
		"DELEGATION_MISSING":       but(func(c *token.Credential) { c.ClientID = "undelegated@project.example" }),
		"APPLICATION_DISABLED":     but(func(c *token.Credential) { c.ClientID = "off@project.example" }),
		"APPLICATION_NOT_FOUND":    but(func(c *token.Credential) { c.ClientID = "nobody@project.example" }),
		"USER_NOT_FOUND":           but(func(c *token.Credential) { c.User = "nobody@gmail.example" }),
		"AUTHORITY_NOT_ALLOWED":    but(func(c *token.Credential) { c.Authority = "https://google.evil.example/token" }),
	}
	return p
}

func TestServiceAccount(t *testing.T) { keepertest.Grant(t, delegated) }

func TestARemedyNamesWhatToDelegateTo(t *testing.T) {
	p := delegated(t)
	_, err := p.Grant.Mint(t.Context(), p.Bad["DELEGATION_MISSING"], secret.String{}, scope)
	var f *remedy.Fault
	if !errors.As(err, &f) || !strings.Contains(f.Remedy, "client id 1001 of the service account undelegated@project.example") || !strings.Contains(f.Link, "domainwidedelegation") {
		t.Errorf("%+v", f)
	}
}

func TestNoRefreshTokenComesBack(t *testing.T) {
	p := open(t)
	m, err := p.Grant.Mint(t.Context(), p.Credential, p.Refresh, p.Audience)
	if err != nil || !m.Refresh.Empty() {
		t.Errorf("%v, refresh token came: %t", err, !m.Refresh.Empty())
	}
}
