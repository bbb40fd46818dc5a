package sandbox_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2/imapclient"
	gosasl "github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"go.uber.org/goleak"

	"mailporter/sandbox"
)

// TestMain: net/http waits for half a second before it closes on somebody whose request was too large; that is no leak.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

const (
	tenantID  = "6f1d2c3b-0a49-4d57-8e6a-b1c2d3e4f506"
	service   = "11111111-2222-4333-8444-555555555555"
	public    = "22222222-3333-4444-8555-666666666666"
	webApp    = "33333333-4444-4555-8666-777777777777"
	secret    = "s3cr~et+value/with&signs"
	gClient   = "client.apps.example"
	gSecret   = "GOCSPX-example"
	support   = "support@contoso.example"
	sales     = "sales@contoso.example"
	shared    = "shared@contoso.example"
	gmailUser = "orders@gmail.example"
	appOnly   = "https://outlook.office365.com/.default"
	imapScope = "https://outlook.office.com/IMAP.AccessAsUser.All"
	smtpScope = "https://outlook.office.com/SMTP.Send"
)

func contoso() sandbox.Config {
	return sandbox.Config{
		Tenants: []sandbox.Tenant{{
			ID: tenantID, Domains: []string{"contoso.example"},
			Apps: []sandbox.App{
				{
					ClientID: service, Name: "Service", Secrets: []sandbox.Secret{{Value: secret}, {Value: "old", Expired: true}},
					Roles: []string{"IMAP.AccessAsApp", "SMTP.SendAsApp", "Mail.ReadWrite"}, Mailboxes: []string{"*"},
				},
				{ClientID: public, Name: "Public", PublicClient: true, Scopes: []string{"IMAP.AccessAsUser.All", "SMTP.Send"}},
				{
					ClientID: webApp, Name: "Web", Secrets: []sandbox.Secret{{Value: secret}},
					Scopes: []string{imapScope, smtpScope, "Mail.Send"},
				},
				{ClientID: "disabled-app", Name: "Off", Disabled: true, Secrets: []sandbox.Secret{{Value: secret}}},
				{ClientID: "no-rights", Name: "None", Secrets: []sandbox.Secret{{Value: secret}}, Mailboxes: []string{"*"}},
				{
					ClientID: "one-mailbox", Name: "One", Secrets: []sandbox.Secret{{Value: secret}},
					Roles: []string{"IMAP.AccessAsApp", "SMTP.SendAsApp"}, Mailboxes: []string{support}, SendAs: []string{shared},
				},
			},
			Users: []sandbox.User{
				{Address: support, Password: "pw", FullAccess: []string{shared}, SendAs: []string{shared}},
				{Address: sales, Password: "pw"},
				{Address: shared},
				{Address: "mfa@contoso.example", Password: "pw", MFA: true},
				{Address: "locked@contoso.example", Password: "pw", Locked: true},
				{Address: "disabled@contoso.example", Password: "pw", Disabled: true},
				{Address: "stale@contoso.example", Password: "pw", PasswordExpired: true},
				{Address: "noimap@contoso.example", Password: "pw", IMAPDisabled: true},
				{Address: "nosmtp@contoso.example", Password: "pw", SMTPDisabled: true},
				{Address: "nobasic@contoso.example", Password: "pw", BasicDisabled: true},
			},
		}},
		Google: sandbox.GoogleConfig{
			Clients: []sandbox.GoogleClient{{ID: gClient, Secret: gSecret}, {ID: "off", Secret: gSecret, Disabled: true}},
			Users: []sandbox.GoogleUser{
				{Address: gmailUser, AppPassword: "abcd efgh ijkl mnop"}, {Address: "noimap@gmail.example", IMAPDisabled: true},
			},
		},
		RefreshTokens: []sandbox.RefreshToken{
			{Token: "seed-entra", Tenant: tenantID, Client: webApp, User: support, Scopes: []string{imapScope}},
			{Token: "seed-entra-expired", Tenant: tenantID, Client: webApp, User: support, Scopes: []string{imapScope}, Expired: true},
			{Token: "seed-entra-revoked", Tenant: tenantID, Client: webApp, User: support, Scopes: []string{imapScope}, Revoked: true},
			{Token: "seed-google", Tenant: "google", Client: gClient, User: gmailUser, Scopes: []string{"https://mail.google.com/"}},
			{Token: "seed-google-revoked", Tenant: "google", Client: gClient, User: gmailUser, Revoked: true},
		},
	}
}

func start(t *testing.T, c sandbox.Config) *sandbox.Sandbox {
	t.Helper()
	sb, err := sandbox.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sb.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return sb
}

func tlsConfig(sb *sandbox.Sandbox) *tls.Config {
	return &tls.Config{RootCAs: sb.CertPool(), ServerName: "localhost"}
}

// trusting is the TLS configuration of a client that has the CA only as a file.
func trusting(ca []byte) *tls.Config {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	return &tls.Config{RootCAs: pool, ServerName: "localhost"}
}

func httpClient(t *testing.T, sb *sandbox.Sandbox) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: tlsConfig(sb)}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// answer is a token answer of either provider, good or bad.
type answer struct {
	status  int
	header  http.Header
	raw     string
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	Expires int    `json:"expires_in"`
	In      int    `json:"refresh_in"`
	Scope   string `json:"scope"`
	ID      string `json:"id_token"`
	Error   string `json:"error"`
	Text    string `json:"error_description"`
	Codes   []int  `json:"error_codes"`
	Sub     string `json:"suberror"`
	Trace   string `json:"trace_id"`
	Corr    string `json:"correlation_id"`
	Claims  string `json:"claims"`
}

func post(t *testing.T, sb *sandbox.Sandbox, at string, form url.Values) answer {
	t.Helper()
	resp, err := httpClient(t, sb).PostForm(at, form)
	if err != nil {
		t.Fatal(err)
	}
	return readAnswer(t, resp)
}

func readAnswer(t *testing.T, resp *http.Response) answer {
	t.Helper()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{status: resp.StatusCode, header: resp.Header, raw: string(b)}
	if strings.HasPrefix(resp.Header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(b, &a); err != nil {
			t.Fatalf("%v in %s", err, b)
		}
	}
	return a
}

func entra(sb *sandbox.Sandbox, tenant string) string {
	return sb.Authority() + "/" + tenant + "/oauth2/v2.0/token"
}

// form makes url.Values of pairs.
func form(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Set(pairs[i], pairs[i+1])
	}
	return v
}

func appToken(t *testing.T, sb *sandbox.Sandbox, client string) string {
	t.Helper()
	a := post(t, sb, entra(sb, tenantID), form("grant_type", "client_credentials", "client_id", client, "client_secret", secret, "scope", appOnly))
	if a.Access == "" {
		t.Fatalf("no token: %s", a.raw)
	}
	return a.Access
}

func userToken(t *testing.T, sb *sandbox.Sandbox, user, scope string) string {
	t.Helper()
	a := post(t, sb, entra(sb, tenantID), form("grant_type", "password", "client_id", public, "username", user, "password", "pw", "scope", scope))
	if a.Access == "" {
		t.Fatalf("no token: %s", a.raw)
	}
	return a.Access
}

func googleToken(t *testing.T, sb *sandbox.Sandbox) string {
	t.Helper()
	a := post(t, sb, sb.GoogleAuthority()+"/token", form("grant_type", "refresh_token", "client_id", gClient, "client_secret", gSecret, "refresh_token", "seed-google"))
	if a.Access == "" {
		t.Fatalf("no token: %s", a.raw)
	}
	return a.Access
}

// bearer is the client side of XOAUTH2. challenge keeps what came before the refusal.
type bearer struct {
	user, token string
	split       bool // no initial response
	challenge   string
	sent        bool
}

func (b *bearer) Start() (string, []byte, error) {
	if b.split {
		return "XOAUTH2", nil, nil
	}
	b.sent = true
	return "XOAUTH2", b.response(), nil
}

func (b *bearer) response() []byte {
	return []byte("user=" + b.user + "\x01auth=Bearer " + b.token + "\x01\x01")
}

func (b *bearer) Next(challenge []byte) ([]byte, error) {
	if !b.sent {
		b.sent = true
		return b.response(), nil
	}
	b.challenge = string(challenge)
	return []byte{}, nil
}

var _ gosasl.Client = (*bearer)(nil)

func dialIMAP(t *testing.T, sb *sandbox.Sandbox, addr string, options *imapclient.Options) *imapclient.Client {
	t.Helper()
	if options == nil {
		options = &imapclient.Options{}
	}
	options.TLSConfig = tlsConfig(sb)
	c, err := imapclient.DialTLS(addr, options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func openIMAP(t *testing.T, sb *sandbox.Sandbox, user, token string, options *imapclient.Options) *imapclient.Client {
	t.Helper()
	c := dialIMAP(t, sb, sb.IMAPAddr(), options)
	if err := c.Authenticate(&bearer{user: user, token: token}); err != nil {
		t.Fatal(err)
	}
	return c
}

func dialSMTP(t *testing.T, sb *sandbox.Sandbox) *smtp.Client {
	t.Helper()
	raw, err := net.Dial("tcp", sb.SMTPAddr())
	if err != nil {
		t.Fatal(err)
	}
	c, err := smtp.NewClientStartTLS(raw, tlsConfig(sb))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func openSMTP(t *testing.T, sb *sandbox.Sandbox, user, token string) *smtp.Client {
	t.Helper()
	c := dialSMTP(t, sb)
	if err := c.Auth(&bearer{user: user, token: token}); err != nil {
		t.Fatal(err)
	}
	return c
}

func send(c *smtp.Client, from, raw string, to ...string) error {
	return c.SendMail(from, to, strings.NewReader(raw))
}
