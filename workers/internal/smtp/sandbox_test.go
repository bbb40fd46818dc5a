package smtp_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/kit/tokenclient/brokertest"
	"mailporter/sandbox"
	"mailporter/sandbox/fault"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/outbound/outboundtest"
	"mailporter/workers/internal/smtp"
	"mailporter/workers/internal/wire"
)

const (
	tenant  = "6f1d2c3b-0a49-4d57-8e6a-b1c2d3e4f506"
	service = "11111111-2222-4333-8444-555555555555"
	secret  = "s3cr~et+value/with&signs"
	support = "support@contoso.example"
	sales   = "sales@contoso.example"
	office  = "office@contoso.example"
	gmail   = "orders@gmail.example"
)

func provider(t *testing.T) *sandbox.Sandbox {
	t.Helper()
	sb, err := sandbox.Start(sandbox.Config{
		Tenants: []sandbox.Tenant{{
			ID: tenant, Domains: []string{"contoso.example"},
			Apps: []sandbox.App{{
				ClientID: service, Secrets: []sandbox.Secret{{Value: secret}}, Roles: []string{"SMTP.SendAsApp"}, Mailboxes: []string{"*"},
			}},
			Users: []sandbox.User{{Address: support, Password: "pass-word-of-support"}, {Address: sales}, {Address: office}},
		}},
		Google: sandbox.GoogleConfig{
			Clients: []sandbox.GoogleClient{{ID: "g", Secret: secret}}, Users: []sandbox.GoogleUser{{Address: gmail, AppPassword: "abcdefghijklmnop"}},
		},
		RefreshTokens: []sandbox.RefreshToken{{Token: "seed", Tenant: "google", Client: "g", User: gmail, Scopes: []string{"https://mail.google.com/"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := sb.Close(); err != nil {
			t.Errorf("close sandbox: %v", err)
		}
	})
	return sb
}

// mint gets a token from the sandbox.
func mint(sb *sandbox.Sandbox, mailbox string) (string, error) {
	where, form := sb.Authority()+"/"+tenant+"/oauth2/v2.0/token", url.Values{
		"grant_type": {"client_credentials"}, "client_id": {service}, "client_secret": {secret}, "scope": {"https://outlook.office365.com/.default"},
	}
	if mailbox == gmail {
		where, form = sb.GoogleAuthority()+"/token", url.Values{
			"grant_type": {"refresh_token"}, "client_id": {"g"}, "client_secret": {secret}, "refresh_token": {"seed"},
		}
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: sb.CertPool(), ServerName: "localhost"}}
	defer tr.CloseIdleConnections()
	res, err := (&http.Client{Transport: tr}).PostForm(where, form)
	if err != nil {
		return "", err
	}
	defer res.Body.Close() //nolint:errcheck // it was only read
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || answer.Token == "" {
		return "", fmt.Errorf("status %d, %v", res.StatusCode, err)
	}
	return answer.Token, nil
}

// fixture is a sandbox, a broker and what was seen on the wire.
type fixture struct {
	sandbox *sandbox.Sandbox
	broker  *brokertest.Broker
	client  tokenclient.Broker
	set     tokenclient.Settings

	mu     sync.Mutex
	tokens []string
	life   time.Duration
	wire   strings.Builder
}

func start(t *testing.T, mailbox string, m tokenclient.Mechanism) *fixture {
	t.Helper()
	f := &fixture{sandbox: provider(t), broker: brokertest.New(t), life: time.Hour}
	address, security := f.sandbox.SMTPAddr(), tokenclient.StartTLS
	if mailbox == gmail {
		address, security = f.sandbox.GmailSMTPAddr(), tokenclient.TLS
	}
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	number, _ := strconv.Atoi(port)
	f.set = tokenclient.Settings{
		Mailbox: mailbox, Direction: tokenclient.Outbound, Protocol: tokenclient.SMTP, Margin: 2 * time.Second,
		Endpoint: tokenclient.Endpoint{
			Server: "localhost", Port: number, Security: security, User: mailbox, Mechanism: m,
			ConnectTimeout: 20 * time.Second, ProtocolTimeout: 20 * time.Second,
		},
		Outbound: tokenclient.OutboundSettings{PoolSize: 3, CheckIdle: time.Minute, MaxIdle: time.Minute},
	}
	f.broker.SetMailboxes(f.set)
	f.broker.OnMint(f.mint)
	f.client = f.broker.Client(t)
	return f
}

func (f *fixture) mint(a tokenclient.Ask) (string, time.Time, error) {
	f.mu.Lock()
	life := f.life
	f.mu.Unlock()
	token, err := "pass-word-of-support", error(nil)
	if f.set.Endpoint.Mechanism != tokenclient.Basic {
		token, err = mint(f.sandbox, a.Mailbox)
	} else if a.Mailbox == gmail {
		token = "abcdefghijklmnop"
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tokens = append(f.tokens, token)
	return token, time.Now().Add(life), err
}

func (f *fixture) secrets() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string{secret}, f.tokens...)
}

func (f *fixture) trace(direction, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fmt.Fprintf(&f.wire, "%s %s\n", direction, text)
}

func (f *fixture) traced() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.wire.String()
}

func (f *fixture) open(t *testing.T) outbound.Transport { return f.openWith(t, f.set) }

// away is a transport to a port where nobody listens.
func (f *fixture) away(t *testing.T) outbound.Transport {
	s := f.set
	s.Endpoint.Port = 1
	return f.openWith(t, s)
}

func (f *fixture) openWith(t *testing.T, s tokenclient.Settings) outbound.Transport {
	t.Helper()
	tr, err := smtp.New(smtp.Config{Roots: f.sandbox.CertPool(), Trace: wire.TraceLines(f.trace)}, s, f.client)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// cause turns the suite's troubles into rules of the sandbox.
func (f *fixture) cause(t *testing.T, what outboundtest.Trouble) {
	t.Helper()
	rule := fault.Rule{Target: fault.SMTP, Step: "data", Count: 1, Action: fault.Reply}
	switch what {
	case outboundtest.TryLater:
		rule.Text = "451 4.3.0 try later"
	case outboundtest.Throttle:
		rule.Text = "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded"
	case outboundtest.Refuse:
		rule.Text = "554 5.6.0 Corrupt message content"
	case outboundtest.CutBefore:
		rule.Action = fault.Reset
	case outboundtest.CutAfter:
		rule.Step, rule.Action = "accepted", fault.LoseAnswer
	case outboundtest.RefuseToken:
		rule.Step, rule.Action = "auth", fault.RefuseToken
	case outboundtest.RefuseTokens:
		rule.Step, rule.Action, rule.Count = "auth", fault.RefuseToken, 0
	case outboundtest.DeferOne:
		rule.Step, rule.Text = "rcpt", "450 4.2.0 greylisted"
	case outboundtest.TokensExpireSoon:
		f.mu.Lock()
		f.life = 2*time.Second + 300*time.Millisecond // less than a moment beyond the margin
		f.mu.Unlock()
		return
	}
	f.sandbox.Faults().Add(rule)
}

func (f *fixture) taken(t *testing.T, address string) [][]byte {
	t.Helper()
	folder, err := f.sandbox.Store().Folder(address, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	var all [][]byte
	for _, m := range folder.Messages {
		b, err := m.Raw()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	return all
}

func (f *fixture) server() *outboundtest.Server {
	troubles := []outboundtest.Trouble{
		outboundtest.TryLater, outboundtest.Throttle, outboundtest.Refuse, outboundtest.CutBefore, outboundtest.CutAfter,
		outboundtest.DeferOne,
	}
	if f.set.Endpoint.Mechanism != tokenclient.Basic {
		troubles = append(troubles, outboundtest.RefuseToken, outboundtest.RefuseTokens, outboundtest.TokensExpireSoon)
	}
	return &outboundtest.Server{
		From: f.set.Mailbox, To: []string{sales, office}, NoOne: "nobody@contoso.example", Troubles: troubles,
		Cause: f.cause, Taken: f.taken, Open: f.open, Away: f.away, Secrets: f.secrets, Wire: f.traced,
	}
}

func TestTransport(t *testing.T) {
	for name, c := range map[string]struct {
		mailbox   string
		mechanism tokenclient.Mechanism
	}{
		"exchange XOAUTH2":  {support, tokenclient.XOAUTH2},
		"exchange password": {support, tokenclient.Basic},
		"gmail XOAUTH2":     {gmail, tokenclient.XOAUTH2},
		"gmail OAUTHBEARER": {gmail, tokenclient.OAUTHBEARER},
	} {
		t.Run(name, func(t *testing.T) {
			outboundtest.Transport(t, func(t *testing.T) *outboundtest.Server { return start(t, c.mailbox, c.mechanism).server() })
		})
	}
}
