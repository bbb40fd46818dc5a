package microsoft_test

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"mailporter/broker/internal/grant/microsoft"
	"mailporter/broker/internal/grant/wire"
	"mailporter/broker/internal/keeper/keepertest"
	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
	"mailporter/kit/secret"
	"mailporter/sandbox"
	"mailporter/sandbox/fault"
)

const agent = "agent@fed.example"

// federated is a provider for a user whose domain has a federation server; change may spoil it.
func federated(t *testing.T, change func(*sandbox.FederatedDomain)) (*sandbox.Sandbox, keepertest.Provider) {
	t.Helper()
	c := contoso()
	d := sandbox.FederatedDomain{Domain: "fed.example"}
	change(&d)
	c.Tenants[0].Domains = append(c.Tenants[0].Domains, d.Domain)
	c.Tenants[0].Federated = []sandbox.FederatedDomain{d}
	c.Tenants[0].Users = append(c.Tenants[0].Users, sandbox.User{Address: agent, Password: password}, sandbox.User{Address: "mfa@fed.example", Password: password, MFA: true})
	sb, err := sandbox.Start(c)
	if err != nil {
		t.Fatal(err)
	}
	g, err := microsoft.New(wire.Options{Roots: sb.CertPool(), Timeout: 5 * time.Second, Authorities: func() []string {
		return []string{wire.Host(sb.Authority()), wire.Host(sb.Federation())}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.Close()
		if err := sb.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return sb, provider(sb, g, token.Credential{Grant: token.Password, ClientID: public, User: agent, Password: secret.New(password)}, imapScope)
}

func TestPasswordOfAFederatedUser(t *testing.T) {
	for name, saml2 := range map[string]bool{"SAML 1.1": false, "SAML 2.0": true} {
		t.Run(name, func(t *testing.T) {
			keepertest.Grant(t, func(t *testing.T) keepertest.Provider {
				_, p := federated(t, func(d *sandbox.FederatedDomain) { d.SAML2 = saml2 })
				p.Bad[remedy.PasswordRejected] = but(p.Credential, func(c *token.Credential) { c.Password = secret.New("wrong") })
				p.Bad["MFA_REQUIRED"] = but(p.Credential, func(c *token.Credential) { c.User = "mfa@fed.example" })
				p.Bad[remedy.UserNotFound] = but(p.Credential, func(c *token.Credential) { c.User = "agent@unknown.example" })
				return p
			})
		})
	}
}

func TestEntraDoesNotSeeAFederatedPassword(t *testing.T) {
	sb, p := federated(t, func(*sandbox.FederatedDomain) {})
	if _, err := p.Grant.Mint(t.Context(), p.Credential, secret.String{}, p.Audience); err != nil {
		t.Fatal(err)
	}
	// The sandbox counts by the user name that stands in the form.
	if n := sb.TokenRequests(); n.Total != 1 || n.Grant["urn:ietf:params:oauth:grant-type:saml1_1-bearer"] != 1 || len(n.User) != 0 {
		t.Errorf("%+v", n)
	}
}

// soap is a fault as a federation server sends it.
func soap(code string) string {
	return fmt.Sprintf(`<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"><s:Body><s:Fault><s:Code><s:Value>s:Sender</s:Value><s:Subcode><s:Value>a:%s</s:Value></s:Subcode></s:Code>`+
		`<s:Reason><s:Text>%s</s:Text></s:Reason></s:Fault></s:Body></s:Envelope>`, code, keepertest.Marker)
}

// TestFederationFails: everything that can go wrong at the federation server, and who must act.
func TestFederationFails(t *testing.T) {
	bomb := strings.Repeat("<!-- "+keepertest.Marker+" -->", 60_000) // 1.3 MB
	for name, tc := range map[string]struct {
		step   string
		rule   fault.Rule
		class  remedy.Class
		reason string
		say    string
		tries  int
	}{
		"wrong password":       {"trust", fault.Rule{Action: fault.Reply, Status: 500, Body: soap("FailedAuthentication")}, remedy.NeedsUser, remedy.PasswordRejected, "must correct the password", 0},
		"wrong password, 401":  {"trust", fault.Rule{Action: fault.Reply, Status: 401}, remedy.NeedsUser, remedy.PasswordRejected, "must correct the password", 0},
		"unknown relying part": {"trust", fault.Rule{Action: fault.Reply, Status: 500, Body: soap("InvalidScope")}, remedy.WrongConfig, remedy.FederationRefused, "urn:federation:MicrosoftOnline", 0},
		"unknown fault":        {"trust", fault.Rule{Action: fault.Reply, Status: 500, Body: soap("SomethingNew")}, remedy.Transient, remedy.FederationRefused, "SomethingNew", 3},
		"odd fault":            {"trust", fault.Rule{Action: fault.Reply, Status: 500, Body: soap("<![CDATA[" + keepertest.Marker + "]]>")}, remedy.Transient, remedy.FederationRefused, "Unknown", 3},
		"server away":          {"trust", fault.Rule{Action: fault.Reset}, remedy.Transient, remedy.FederationUnavailable, "Whoever runs the federation server", 0},
		"server in trouble":    {"trust", fault.Rule{Action: fault.Reply, Status: 503, Body: "<html>"}, remedy.Transient, remedy.FederationUnavailable, "Whoever runs the federation server", 0},
		"answer too large":     {"trust", fault.Rule{Action: fault.Reply, Status: 200, Body: bomb}, remedy.Transient, remedy.FederationUnreadable, "WS-Trust 1.3", 0},
		"answer is no XML":     {"trust", fault.Rule{Action: fault.Reply, Status: 200, Body: keepertest.Marker}, remedy.Transient, remedy.FederationUnreadable, "WS-Trust 1.3", 0},
		"answer moved":         {"trust", fault.Rule{Action: fault.Reply, Status: 307, Header: map[string]string{"Location": "https://evil.example/"}}, remedy.Transient, remedy.FederationUnreadable, "gateway", 0},
		"metadata away":        {"mex", fault.Rule{Action: fault.Reset}, remedy.Transient, remedy.FederationUnavailable, "Whoever runs the federation server", 0},
		"metadata too large":   {"mex", fault.Rule{Action: fault.Reply, Status: 200, Body: bomb}, remedy.Transient, remedy.FederationUnreadable, "WS-Trust 1.3", 0},
		"metadata without end": {"mex", fault.Rule{Action: fault.Cut, Bytes: 300}, remedy.Transient, remedy.FederationUnavailable, "Whoever runs the federation server", 0},
		"metadata not there":   {"mex", fault.Rule{Action: fault.Reply, Status: 404, Body: "<html>"}, remedy.Transient, remedy.FederationUnreadable, "WS-Trust 1.3", 0},
		"metadata moved":       {"mex", fault.Rule{Action: fault.Reply, Status: 302, Header: map[string]string{"Location": "https://evil.example/"}}, remedy.Transient, remedy.FederationUnreadable, "gateway", 0},
		"metadata of another":  {"mex", fault.Rule{Action: fault.Reply, Status: 200, Body: "<definitions/>"}, remedy.Transient, remedy.FederationUnreadable, "WS-Trust 1.3", 0},
		"realm away":           {"realm", fault.Rule{Action: fault.Reset}, remedy.Transient, remedy.Unavailable, "cannot be reached", 0},
		"realm is no JSON":     {"realm", fault.Rule{Action: fault.Reply, Status: 200, Body: keepertest.Marker}, remedy.Transient, remedy.Unreadable, "tenant-authority", 0},
		"assertion refused":    {"token", fault.Rule{Action: fault.Reply, AADSTS: 50013}, remedy.WrongConfig, "CLIENT_ASSERTION_INVALID", "clock", 0},
		"Entra's own view":     {"token", fault.Rule{Action: fault.Reply, AADSTS: 40010}, remedy.Transient, remedy.FederationUnavailable, "Whoever runs the federated identity provider", 0},
	} {
		t.Run(name, func(t *testing.T) {
			sb, p := federated(t, func(*sandbox.FederatedDomain) {})
			tc.rule.Target, tc.rule.Step = fault.Identity, tc.step
			sb.Faults().Add(tc.rule)
			_, err := p.Grant.Mint(t.Context(), p.Credential, secret.String{}, p.Audience)
			f, ok := err.(*remedy.Fault)
			if !ok || f.Class != tc.class || f.Reason != tc.reason || f.Tries != tc.tries || !strings.Contains(f.Remedy, tc.say) {
				t.Fatalf("%+v", err)
			}
			if text := fmt.Sprintf("%+v", *f); strings.Contains(text, keepertest.Marker) || strings.Contains(text, password) {
				t.Errorf("the server's text or a secret came through: %s", text)
			}
		})
	}
}

// TestAPasswordGoesToAllowedHostsOnly: neither the metadata of a federation server nor a plain address leads a password
// anywhere else.
func TestAPasswordGoesToAllowedHostsOnly(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var connections atomic.Int32
	elsewhere := &http.Server{ConnState: func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}}
	served := make(chan error, 1)
	go func() { served <- elsewhere.Serve(l) }()
	defer func() { elsewhere.Close(); <-served }()
	for name, endpoint := range map[string]string{"another host": "https://" + l.Addr().String() + "/trust", "not https": "http://" + l.Addr().String() + "/trust"} {
		t.Run(name, func(t *testing.T) {
			_, p := federated(t, func(d *sandbox.FederatedDomain) { d.Endpoint = endpoint })
			_, err := p.Grant.Mint(t.Context(), p.Credential, secret.String{}, p.Audience)
			f, ok := err.(*remedy.Fault)
			if !ok || f.Reason != remedy.AuthorityNotAllowed || !f.Class.Freezes() || !strings.Contains(f.Remedy, l.Addr().String()) || !strings.Contains(f.Remedy, "allowed-authorities") {
				t.Errorf("%+v", err)
			}
		})
	}
	if n := connections.Load(); n != 0 {
		t.Errorf("%d connections to a host that is not allowed", n)
	}
}

// TestAFederationServerMustBeAllowed: what Microsoft says about a realm is not enough.
func TestAFederationServerMustBeAllowed(t *testing.T) {
	sb, p := federated(t, func(*sandbox.FederatedDomain) {})
	g, err := microsoft.New(wire.Options{Roots: sb.CertPool(), Authorities: func() []string { return []string{wire.Host(sb.Authority())} }})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	_, err = g.Mint(t.Context(), p.Credential, secret.String{}, p.Audience)
	if f, ok := err.(*remedy.Fault); !ok || f.Reason != remedy.AuthorityNotAllowed || !strings.Contains(f.Remedy, wire.Host(sb.Federation())) {
		t.Errorf("%+v", err)
	}
}
