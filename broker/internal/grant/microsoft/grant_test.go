package microsoft_test

import (
	"net/http"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailporter/broker/internal/grant/microsoft"
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
	tenant    = "6f1d2c3b-0a49-4d57-8e6a-b1c2d3e4f506"
	elsewhere = "00000000-0000-4000-8000-000000000000"
	service   = "service-app"
	public    = "public-app"
	web       = "web-app"
	appSecret = "s3cr~et+value/with&signs"
	user      = "support@contoso.example"
	password  = "pass wörd+&="
	imapScope = "https://outlook.office.com/IMAP.AccessAsUser.All"
	appScope  = "https://outlook.office365.com/.default"
)

func contoso() sandbox.Config {
	scopes := []string{"IMAP.AccessAsUser.All", "SMTP.Send"}
	return sandbox.Config{
		TokenLife: time.Hour, RefreshIn: 20 * time.Minute,
		Tenants: []sandbox.Tenant{{
			ID: tenant, Domains: []string{"contoso.example"},
			Apps: []sandbox.App{
				{ClientID: service, Secrets: []sandbox.Secret{{Value: appSecret}, {Value: "old", Expired: true}}, Roles: []string{"IMAP.AccessAsApp"}, Mailboxes: []string{"*"}},
				{ClientID: public, PublicClient: true, Scopes: scopes},
				{ClientID: web, Secrets: []sandbox.Secret{{Value: appSecret}}, Scopes: scopes},
			},
			Users: []sandbox.User{
				{Address: user, Password: password}, {Address: "mfa@contoso.example", Password: password, MFA: true},
				{Address: "locked@contoso.example", Password: password, Locked: true},
				{Address: "stale@contoso.example", Password: password, PasswordExpired: true},
			},
		}},
	}
}

func start(t *testing.T) (*sandbox.Sandbox, *microsoft.Grant) {
	t.Helper()
	sb, err := sandbox.Start(contoso())
	if err != nil {
		t.Fatal(err)
	}
	g, err := microsoft.New(wire.Options{Roots: sb.CertPool(), Authorities: func() []string { return []string{wire.Host(sb.Authority())} }, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.Close()
		if err := sb.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return sb, g
}

// provider is the suite's view of the sandbox.
func provider(sb *sandbox.Sandbox, g *microsoft.Grant, c token.Credential, a token.Audience) keepertest.Provider {
	c.Provider, c.Authority, c.Directory = token.Microsoft, sb.Authority(), tenant
	rule := func(r fault.Rule) {
		r.Target, r.Step, r.Count = fault.Identity, "token", 1
		sb.Faults().Add(r)
	}
	return keepertest.Provider{
		Grant: g, Credential: c, Refresh: c.Refresh, Audience: a, Life: time.Hour, Bad: map[string]token.Credential{},
		Requests: func() int { return int(sb.TokenRequests().Total) },
		Reply: func(a keepertest.Answer) {
			rule(fault.Rule{Action: fault.Reply, Status: a.Status, Header: a.Header, Body: a.Body})
		},
		Cut:        func(bytes int) { rule(fault.Rule{Action: fault.Cut, Bytes: bytes}) },
		Trickle:    func(bytes int) { rule(fault.Rule{Action: fault.Trickle, Bytes: bytes, Delay: 50 * time.Millisecond}) },
		Stall:      func() { rule(fault.Rule{Action: fault.Stall}) },
		LoseAnswer: func() { rule(fault.Rule{Action: fault.LoseAnswer}) },
	}
}

func secrets(s ...string) []secret.String {
	var out []secret.String
	for _, v := range s {
		out = append(out, secret.New(v))
	}
	return out
}

// but is a credential with one thing changed.
func but(c token.Credential, change func(*token.Credential)) token.Credential {
	change(&c)
	return c
}

func TestClientCredentials(t *testing.T) {
	keepertest.Grant(t, func(t *testing.T) keepertest.Provider {
		sb, g := start(t)
		p := provider(sb, g, token.Credential{Grant: token.ClientCredentials, ClientID: service, Secrets: secrets(appSecret)}, appScope)
		p.Bad["CLIENT_SECRET_INVALID"] = but(p.Credential, func(c *token.Credential) { c.Secrets = secrets("wrong") })
		p.Bad["CLIENT_SECRET_EXPIRED"] = but(p.Credential, func(c *token.Credential) { c.Secrets = secrets("old") })
		p.Bad["TENANT_NOT_FOUND"] = but(p.Credential, func(c *token.Credential) { c.Directory = elsewhere })
		p.Bad["APPLICATION_NOT_FOUND"] = but(p.Credential, func(c *token.Credential) { c.ClientID = "nobody" })
		p.Bad["GRANT_NOT_SERVED"] = but(p.Credential, func(c *token.Credential) { c.Grant = token.ServiceAccount })
		p.Bad["AUTHORITY_NOT_ALLOWED"] = but(p.Credential, func(c *token.Credential) { c.Authority = "https://login.microsoftonline.com.evil.example" })
		return p
	})
}

func TestPasswordOfPublicClient(t *testing.T) {
	keepertest.Grant(t, func(t *testing.T) keepertest.Provider {
		sb, g := start(t)
		p := provider(sb, g, token.Credential{Grant: token.Password, ClientID: public, User: user, Password: secret.New(password)}, imapScope)
		p.Bad["PASSWORD_REJECTED"] = but(p.Credential, func(c *token.Credential) { c.Password = secret.New("wrong") })
		p.Bad["MFA_REQUIRED"] = but(p.Credential, func(c *token.Credential) { c.User = "mfa@contoso.example" })
		p.Bad["ACCOUNT_LOCKED"] = but(p.Credential, func(c *token.Credential) { c.User = "locked@contoso.example" })
		p.Bad["PASSWORD_EXPIRED"] = but(p.Credential, func(c *token.Credential) { c.User = "stale@contoso.example" })
		p.Bad["PUBLIC_CLIENT_NOT_ALLOWED"] = but(p.Credential, func(c *token.Credential) { c.ClientID = web })
		return p
	})
}

func TestPasswordOfConfidentialClient(t *testing.T) {
	keepertest.Grant(t, func(t *testing.T) keepertest.Provider {
		sb, g := start(t)
		p := provider(sb, g, token.Credential{Grant: token.Password, ClientID: web, Secrets: secrets(appSecret), User: user, Password: secret.New(password)}, imapScope)
		p.Bad["PASSWORD_REJECTED"] = but(p.Credential, func(c *token.Credential) { c.Password = secret.New("wrong") })
		p.Bad["CLIENT_SECRET_INVALID"] = but(p.Credential, func(c *token.Credential) { c.Secrets = secrets("wrong") })
		p.Bad["CLIENT_IS_PUBLIC"] = but(p.Credential, func(c *token.Credential) { c.ClientID = public })
		return p
	})
}

func TestRefreshToken(t *testing.T) {
	keepertest.Grant(t, func(t *testing.T) keepertest.Provider {
		sb, g := start(t)
		refresh := secret.New(sb.IssueRefreshToken(tenant, web, user, imapScope))
		p := provider(sb, g, token.Credential{Grant: token.RefreshToken, ClientID: web, Secrets: secrets(appSecret), User: user, Refresh: refresh}, imapScope)
		p.Bad["REAUTHORIZATION_REQUIRED"] = but(p.Credential, func(c *token.Credential) { c.Refresh = secret.New("1.Awrong") })
		p.Bad["CLIENT_SECRET_INVALID"] = but(p.Credential, func(c *token.Credential) { c.Secrets = secrets("wrong") })
		return p
	})
}

func TestOnlyTheRefreshGrantRotates(t *testing.T) {
	sb, g := start(t)
	refresh := secret.New(sb.IssueRefreshToken(tenant, web, user, imapScope))
	for kind, rotates := range map[token.Kind]bool{token.RefreshToken: true, token.Password: false} {
		p := provider(sb, g, token.Credential{Grant: kind, ClientID: web, Secrets: secrets(appSecret), User: user, Password: secret.New(password)}, imapScope+" offline_access")
		m, err := g.Mint(t.Context(), p.Credential, refresh, p.Audience)
		if err != nil {
			t.Fatal(err)
		}
		if m.Refresh.Empty() == rotates || m.Refresh.Equal(refresh) {
			t.Errorf("%s: refresh token came: %t", kind, !m.Refresh.Empty())
		}
		if m.Token.RenewIn != 20*time.Minute {
			t.Errorf("%s: refresh_in %s", kind, m.Token.RenewIn)
		}
	}
}

func TestMetadataIsReadOnceAndAChangedSecretIsUsed(t *testing.T) {
	sb, g := start(t)
	p := provider(sb, g, token.Credential{Grant: token.ClientCredentials, ClientID: service, Secrets: secrets("wrong")}, appScope)
	if _, err := g.Mint(t.Context(), p.Credential, secret.String{}, appScope); err == nil {
		t.Fatal("a wrong secret minted")
	}
	p.Credential.Secrets = secrets(appSecret)
	if _, err := g.Mint(t.Context(), p.Credential, secret.String{}, appScope); err != nil {
		t.Fatal(err)
	}
	metadata := sb.Faults().Add(fault.Rule{Target: fault.Identity, Step: "metadata", Action: fault.Reply, Status: http.StatusInternalServerError})
	if _, err := g.Mint(t.Context(), p.Credential, secret.String{}, appScope); err != nil || sb.Faults().Fired(metadata) != 0 {
		t.Errorf("metadata was read again: %v", err)
	}
}

func TestBadProxy(t *testing.T) {
	if _, err := microsoft.New(wire.Options{Proxy: "://"}); err == nil {
		t.Error("a proxy without host was taken")
	}
}

func TestProxyIsUsed(t *testing.T) {
	sb, _ := start(t)
	g, err := microsoft.New(wire.Options{Roots: sb.CertPool(), Authorities: func() []string { return []string{wire.Host(sb.Authority())} }, Proxy: "socks5://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	p := provider(sb, g, token.Credential{Grant: token.ClientCredentials, ClientID: service, Secrets: secrets(appSecret)}, appScope)
	_, err = g.Mint(t.Context(), p.Credential, secret.String{}, appScope)
	if f, ok := err.(*remedy.Fault); !ok || f.Class != remedy.Transient {
		t.Errorf("without its proxy: %v", err)
	}
	if n := p.Requests(); n != 0 {
		t.Errorf("%d requests went around the proxy", n)
	}
}
