package google_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailporter/broker/internal/grant/google"
	"mailporter/broker/internal/grant/wire"
	"mailporter/broker/internal/keeper/keepertest"
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
	scope        = "https://mail.google.com/"
)

func open(t *testing.T) keepertest.Provider {
	sb, err := sandbox.Start(sandbox.Config{TokenLife: 3599 * time.Second, Google: sandbox.GoogleConfig{
		Clients: []sandbox.GoogleClient{{ID: client, Secret: clientSecret}, {ID: "off", Secret: clientSecret, Disabled: true}, {ID: "other", Secret: clientSecret}},
		Users:   []sandbox.GoogleUser{{Address: user}},
	}})
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
		Reply: func(status int, after time.Duration, body string) {
			rule(fault.Rule{Action: fault.Reply, Status: status, RetryAfter: after, Body: body, Header: map[string]string{"Location": "https://evil.example/"}})
		},
		Stall:      func() { rule(fault.Rule{Action: fault.Stall}) },
		LoseAnswer: func() { rule(fault.Rule{Action: fault.LoseAnswer}) },
	}
}

func TestRefreshToken(t *testing.T) { keepertest.Grant(t, open) }

func TestNoRefreshTokenComesBack(t *testing.T) {
	p := open(t)
	m, err := p.Grant.Mint(t.Context(), p.Credential, p.Refresh, p.Audience)
	if err != nil || !m.Refresh.Empty() {
		t.Errorf("%v, refresh token came: %t", err, !m.Refresh.Empty())
	}
}
