package directory

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mailporter/broker/internal/token"
	"mailporter/kit/config"
)

// site is a folder of configuration files for one test.
type site struct {
	t   testing.TB
	dir string
}

func newSite(t testing.TB) *site {
	s := &site{t, t.TempDir()}
	s.write("broker.yaml", "store: file:state\npolicy: policy.yaml\nmailboxes: [mailboxes.d/*.yaml]\nallowed-authorities: [login.example.test, 'localhost:8443']\n")
	s.write("policy.yaml", "rules: [{identity: a, mailboxes: ['*'], verbs: [token]}]\n")
	s.write("app", "app-secret\n")
	s.write("pass", "mailbox-password\n")
	return s
}

func (s *site) write(name, text string) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// load writes one mailbox file and loads; ../ in it leads to the secrets.
func (s *site) load(text string) (*Config, config.Complaints) {
	s.t.Helper()
	s.write("mailboxes.d/a.yaml", text)
	return Load(filepath.Join(s.dir, "broker.yaml"), nil)
}

func (s *site) good(text string) *Config {
	s.t.Helper()
	c, complaints := s.load(text)
	if err := complaints.Err(); err != nil {
		s.t.Fatal(err)
	}
	return c
}

// one wraps the options of a section into a file with one mailbox.
func one(section, options string) string {
	return fmt.Sprintf(`
applications:
  contoso: {directory-id: 8d2c, client-id: 5e11, secrets: [{file: ../app}]}
secret-goog: {password: {file: ../app}}
mailboxes:
  - address: Support@contoso.com
    %s: {%s}
`, section, options)
}

func TestGrantDerivation(t *testing.T) {
	const pass = "password: {file: ../pass}"
	const ids = "directory-id: d, client-id: c, " + pass
	for name, tc := range map[string]struct {
		options   string
		grant     token.Kind
		authority string
		audience  string
		mechanism Mechanism
		server    string
		port      int
	}{
		"basic":                       {"type: IMAP, server: mail.example, " + pass, token.Basic, "", "", BasicLogin, "mail.example", 993},
		"ROPC":                        {"type: IMAP, mail.imap.auth.mechanisms: XOAUTH2, " + ids, token.Password, "https://login.microsoftonline.com", "https://outlook.office.com/.default", XOAUTH2, "outlook.office365.com", 993},
		"OAUTHBEARER":                 {"type: IMAP, mail.imap.auth.mechanisms: OAUTHBEARER, " + ids, token.Password, "https://login.microsoftonline.com", "https://outlook.office.com/.default", OAUTHBEARER, "outlook.office365.com", 993},
		"client_credentials":          {"application: contoso, type: POP3, mail.pop3.auth.mechanisms: XOAUTH2, grant-type: client_credentials", token.ClientCredentials, "https://login.microsoftonline.com", "https://outlook.office.com/.default", XOAUTH2, "outlook.office365.com", 995},
		"GRAPH":                       {"type: GRAPH, " + ids, token.ClientCredentials, "https://login.microsoftonline.com", "https://graph.microsoft.com/.default", Bearer, "graph.microsoft.com", 443},
		"EWS":                         {"type: EWS, mail.ews.auth.mechanisms: XOAUTH2, " + ids, token.Password, "https://login.microsoftonline.com", "https://outlook.office.com/.default", Bearer, "outlook.office365.com", 443},
		"refresh_token at Microsoft":  {"type: IMAP, mail.imap.auth.mechanisms: XOAUTH2, grant-type: refresh_token, " + ids, token.RefreshToken, "https://login.microsoftonline.com", "https://outlook.office.com/.default", XOAUTH2, "outlook.office365.com", 993},
		"Google":                      {"type: IMAP, mail.imap.auth.mechanisms: XOAUTH2, tenant-authority: GOOGLE, secret: goog, " + ids, token.RefreshToken, "https://oauth2.googleapis.com/token", "https://mail.google.com/", XOAUTH2, "imap.gmail.com", 993},
		"Google by URL":               {"type: POP3, mail.pop3.auth.mechanisms: XOAUTH2, tenant-authority: 'https://accounts.google.com', secret: goog, " + ids, token.RefreshToken, "https://oauth2.googleapis.com/token", "https://mail.google.com/", XOAUTH2, "pop.gmail.com", 995},
		"stand-in for Google":         {"type: IMAP, mail.imap.auth.mechanisms: XOAUTH2, tenant-authority: 'https://localhost:8443/google', secret: goog, " + ids, token.RefreshToken, "https://localhost:8443/google/token", "https://mail.google.com/", XOAUTH2, "imap.gmail.com", 993},
		"US Government":               {"type: IMAP, mail.imap.auth.mechanisms: XOAUTH2, tenant-authority: 'https://login.microsoftonline.us', " + ids, token.Password, "https://login.microsoftonline.us", "https://outlook.office365.us/.default", XOAUTH2, "outlook.office365.us", 993},
		"China, GRAPH":                {"type: GRAPH, tenant-authority: 'https://login.partner.microsoftonline.cn/', " + ids, token.ClientCredentials, "https://login.partner.microsoftonline.cn", "https://microsoftgraph.chinacloudapi.cn/.default", Bearer, "microsoftgraph.chinacloudapi.cn", 443},
		"allowed authority and scope": {"type: IMAP, mail.imap.auth.mechanisms: XOAUTH2, tenant-authority: login.example.test, scope: 'https://a/x, https://a/y', " + ids, token.Password, "https://login.example.test", "https://a/x https://a/y", XOAUTH2, "outlook.office365.com", 993},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t).good(one("pop-client", tc.options)).Find("support@CONTOSO.com").Inbound
			if s.Grant != tc.grant || string(s.Audience) != tc.audience || s.Mechanism != tc.mechanism {
				t.Errorf("grant %s, audience %q, mechanism %s", s.Grant, s.Audience, s.Mechanism)
			}
			if s.Endpoint.Server != tc.server || s.Endpoint.Port != tc.port || s.Endpoint.Security != TLS || s.Endpoint.User != "Support@contoso.com" {
				t.Errorf("endpoint %+v", s.Endpoint)
			}
			if (s.Credential != nil) != (tc.authority != "") || s.Credential != nil && s.Credential.Authority != tc.authority {
				t.Errorf("credential %+v", s.Credential)
			}
			if s.Credential != nil && s.Credential.TenantWide != (tc.grant == token.ClientCredentials) {
				t.Errorf("tenant-wide %v", s.Credential.TenantWide)
			}
		})
	}
}

func TestWhatPasswordIs(t *testing.T) {
	const ids = "directory-id: d, client-id: c, password: {file: ../pass}"
	for name, tc := range map[string]struct {
		options                   string
		secrets                   int
		password, refresh, secret string
		user                      string
	}{
		"ROPC":                   {"type: IMAP, mail.imap.auth.mechanisms: XOAUTH2, " + ids, 0, "mailbox-password", "", "", "Support@contoso.com"},
		"ROPC of another user":   {"type: IMAP, mailbox: svc@contoso.com, mail.imap.auth.mechanisms: XOAUTH2, " + ids, 0, "mailbox-password", "", "", "svc@contoso.com"},
		"confidential ROPC":      {"application: contoso, type: IMAP, mail.imap.auth.mechanisms: XOAUTH2, grant-type: password, password: {file: ../pass}", 1, "mailbox-password", "", "app-secret", "Support@contoso.com"},
		"GRAPH":                  {"type: GRAPH, " + ids, 1, "", "", "mailbox-password", ""},
		"application and GRAPH":  {"type: GRAPH, application: contoso, password: {file: ../pass}", 2, "", "", "mailbox-password", ""},
		"Google":                 {"type: IMAP, mail.imap.auth.mechanisms: XOAUTH2, tenant-authority: google, secret: goog, " + ids, 1, "", "mailbox-password", "app-secret", "Support@contoso.com"},
		"Microsoft, after login": {"type: IMAP, mail.imap.auth.mechanisms: XOAUTH2, grant-type: refresh_token, " + ids, 0, "", "mailbox-password", "", "Support@contoso.com"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newSite(t).good(one("pop-client", tc.options)).Mailboxes[0].Inbound.Credential
			if len(c.Secrets) != tc.secrets || c.Password.Reveal() != tc.password || c.Refresh.Reveal() != tc.refresh || c.User != tc.user {
				t.Errorf("%d secrets, user %q, password and refresh as wanted: %v %v", len(c.Secrets), c.User, c.Password.Reveal() == tc.password, c.Refresh.Reveal() == tc.refresh)
			}
			if tc.secret != "" && c.Secrets[0].Reveal() != tc.secret {
				t.Error("another secret is first")
			}
		})
	}
}

// TestAnotherAuthorityThawsPasswords: a federated user's password could not go anywhere before. Nobody else is disturbed.
func TestAnotherAuthorityThawsPasswords(t *testing.T) {
	for name, options := range map[string]string{
		"password":           "type: IMAP, mail.imap.auth.mechanisms: XOAUTH2, directory-id: d, client-id: c, password: {file: ../pass}",
		"client_credentials": "type: GRAPH, application: contoso",
	} {
		s := newSite(t)
		version := func() string { return s.good(one("pop-client", options)).Mailboxes[0].Inbound.Credential.Version }
		before := version()
		s.write("broker.yaml", "policy: policy.yaml\nmailboxes: [mailboxes.d/*.yaml]\nallowed-authorities: [adfs.contoso.com]\n")
		if after := version(); (after != before) != (name == "password") {
			t.Errorf("%s: another version: %t", name, after != before)
		}
	}
}

func TestLayers(t *testing.T) {
	c := newSite(t).good(`
applications:
  contoso: {directory-id: d, client-id: app, secrets: [{file: ../app}], token-expiry-margin-time: "00:01:00"}
defaults:
  pop-client: {cycle-time: "00:00:05", token-expiry-margin-time: "00:09:00", mail.imap.auth.mechanisms: XOAUTH2, type: IMAP, application: contoso, grant-type: client_credentials}
  smtp-client: {token-expiry-margin-time: "00:05:00"}
mailboxes:
  - {address: a@x.org, pop-client: {folder-path: [A, B]}}
  - {address: b@x.org, token-expiry-margin-time: "00:02:00", pop-client: {cycle-time: "00:00:07"}}
  - {address: c@x.org, client-id: mine, pop-client: {token-expiry-margin-time: "00:03:00", folder-path: A}}
  - {address: d@x.org, smtp-client: {server-type: SMTP, server: relay.example, port: 25}}
`)
	in := func(a string) *Section { return c.Find(a).Inbound }
	for name, ok := range map[string]bool{
		"application over defaults":    in("a@x.org").Margin == time.Minute,
		"mailbox over application":     in("b@x.org").Margin == 2*time.Minute,
		"section over mailbox":         in("c@x.org").Margin == 3*time.Minute,
		"defaults beneath all":         in("a@x.org").Fetch.Cycle == 5*time.Second && in("b@x.org").Fetch.Cycle == 7*time.Second,
		"application's option":         in("a@x.org").Credential.ClientID == "app",
		"option repeated at a mailbox": in("c@x.org").Credential.ClientID == "mine",
		"folders":                      strings.Join(in("a@x.org").Fetch.Folders, ",") == "A,B" && strings.Join(in("c@x.org").Fetch.Folders, ",") == "A",
		"one credential for two":       in("a@x.org").Credential == in("b@x.org").Credential && in("a@x.org").Credential != in("c@x.org").Credential,
		"outbound defaults":            c.Find("d@x.org").Outbound.Margin == 5*time.Minute,
		"smallest margin":              c.SmallestMargin() == time.Minute, // a relay without log-in has none
		"no margin at all":             new(Config).SmallestMargin() == marginDefault,
		"relay without log-in":         c.Find("d@x.org").Outbound.Grant == token.None && c.Find("d@x.org").Outbound.Endpoint.Security == StartTLS,
		"no inbound":                   in("d@x.org") == nil && c.Find("nobody@x.org") == nil,
	} {
		if !ok {
			t.Error(name)
		}
	}
}

func TestFetchAndPost(t *testing.T) {
	s := newSite(t)
	c := s.good(`
mailboxes:
  - address: a@x.org
    password: {file: ../pass}
    server: mail.example
    pop-client: {type: IMAP, pop-connection-security: start-tls, maximum-msg-size: 25M, maximum-msg-number: 9, disposition: "move:Done/2026", failed-items-folder-name: Bad, junk: read, deliver-to: desk}
    smtp-client: {server-type: SMTP, enable-authentication: true, smtp-connection-security: ssl-tls, cnx-pool-size: 2, cnx-check-idle-time: "00:00:00", cnx-max-idle-time: "00:01:00", on-unknown: hold, sender-aliases: [sales@x.org, "*@y.org"]}
  - address: b@x.org
    password: {file: ../pass}
    server: 127.0.0.1
    pop-client: {type: IMAP, leave-msg-on-server: false, pop-connection-security: none, port: 1143}
  - {address: c@x.org, smtp-client: {server-type: SMTP, server: mail.example, password: {file: ../pass}}}
  - {address: d@x.org, smtp-client: {server-type: SMTP, server: mail.example, password: {file: ../pass}, enable-authentication: false}}
`)
	in, out, b := c.Find("a@x.org").Inbound, c.Find("a@x.org").Outbound, c.Find("b@x.org").Inbound
	for name, ok := range map[string]bool{
		"sizes":       in.Fetch.MaxSize == 25<<20 && in.Fetch.MaxNumber == 9,
		"disposition": in.Fetch.After == "move" && in.Fetch.AfterFolder == "Done/2026" && in.Fetch.FailedFolder == "Bad",
		"junk, sink":  in.Fetch.Junk == "read" && in.Fetch.DeliverTo == "desk",
		"start-tls":   in.Endpoint.Port == 143 && in.Endpoint.Security == StartTLS,
		"ssl-tls":     out.Endpoint.Port == 465 && out.Endpoint.Security == TLS && out.Grant == token.Basic,
		"pool":        out.Post.PoolSize == 2 && out.Post.CheckIdle == 0 && out.Post.MaxIdle == time.Minute,
		"on-unknown":  out.Post.OnUnknown == "hold" && len(out.Post.SenderAliases) == 2,
		"delete":      b.Fetch.After == "delete" && b.Fetch.Junk == "count" && b.Fetch.DeliverTo == "default",
		"a password":  c.Find("c@x.org").Outbound.Grant == token.Basic,
		"no login":    c.Find("d@x.org").Outbound.Grant == token.None,
		"none":        b.Endpoint.Security == PlainText && b.Endpoint.Port == 1143,
	} {
		if !ok {
			t.Error(name)
		}
	}
}

// TestSentItems: whoever sends over SMTP may look for it the way that the mailbox is read.
func TestSentItems(t *testing.T) {
	const file = `
mailboxes:
  - address: a@x.org
    password: {file: ../pass}
    server: mail.example
    pop-client: {type: IMAP, token-expiry-margin-time: "00:00:30", port: 1993, CYCLE}
    smtp-client: {server-type: SMTP, SENT}
`
	with := func(cycle, sent string) *Section {
		text := strings.NewReplacer("CYCLE", cycle, "SENT", sent).Replace(file)
		return newSite(t).good(text).Mailboxes[0].Outbound
	}
	none, auto, named := with("junk: ignore", "on-unknown: hold"), with("junk: ignore", "sent-items: auto"), with("junk: ignore", "sent-items: Sent/2026")
	want := SentItems{Protocol: IMAP, Mechanism: BasicLogin, Margin: 30 * time.Second}
	want.Endpoint = Endpoint{Server: "mail.example", Port: 1993, Security: TLS, User: "a@x.org", ConnectTimeout: 30 * time.Second, ProtocolTimeout: 2 * time.Minute}
	if none.Post.SentItems != nil || *auto.Post.SentItems != want {
		t.Errorf("%+v, %+v", none.Post.SentItems, auto.Post.SentItems)
	}
	if want.Folder = "Sent/2026"; *named.Post.SentItems != want {
		t.Errorf("%+v", named.Post.SentItems)
	}
	if none.Version == auto.Version || auto.Version == named.Version {
		t.Error("a worker does not learn of the option")
	}
	if with("junk: count", "sent-items: auto").Version != auto.Version || with("mailbox: b@x.org", "sent-items: auto").Version == auto.Version {
		t.Error("the version follows something else than the way to the sent items")
	}
}

// TestSentItemsByDefault: where it means nothing nobody is bothered with it.
func TestSentItemsByDefault(t *testing.T) {
	c, complaints := newSite(t).load(`
defaults:
  smtp-client: {sent-items: auto, server: mail.example, password: {file: ../pass}}
mailboxes:
  - {address: a@x.org, pop-client: {type: IMAP, server: mail.example, password: {file: ../pass}}, smtp-client: {server-type: SMTP}}
  - {address: b@x.org, pop-client: {type: POP3, server: mail.example, password: {file: ../pass}}, smtp-client: {server-type: SMTP}}
  - {address: c@x.org, smtp-client: {server-type: SMTP}}
  - {address: d@x.org, pop-client: {type: IMAP, server: mail.example, password: {file: ../pass}}, smtp-client: {server-type: SMTP, sent-items: none}}
`)
	if len(complaints) > 0 {
		t.Error(complaints)
	}
	for address, want := range map[string]bool{"a@x.org": true, "b@x.org": false, "c@x.org": false, "d@x.org": false} {
		if got := c.Find(address).Outbound.Post.SentItems; (got != nil) != want {
			t.Errorf("%s: %+v", address, got)
		}
	}
}

func TestWhatMayBeSent(t *testing.T) {
	const minute, day = time.Minute, 24 * time.Hour
	exchange := []Limit{{"messages", 30, minute}, {"recipients", 10_000, day}}
	for name, tc := range map[string]struct {
		options string
		want    []Limit
	}{
		"Exchange Online":     {"server-type: SMTP, mail.smtp.auth.mechanisms: XOAUTH2, application: contoso, grant-type: client_credentials", exchange},
		"by the server":       {"server-type: SMTP, server: Smtp.Office365.com, password: {file: ../pass}", exchange},
		"EWS":                 {"server-type: EWS, mail.ews.auth.mechanisms: XOAUTH2, application: contoso, grant-type: client_credentials", exchange},
		"GRAPH":               {"server-type: GRAPH, application: contoso", append(slices.Clone(exchange), Limit{"bytes", 150 << 20, 5 * minute})},
		"Gmail":               {"server-type: SMTP, server: smtp.gmail.com, password: {file: ../pass}", []Limit{{"messages", 2_000, day}}},
		"a server of its own": {"server-type: SMTP, server: mail.example, password: {file: ../pass}", nil},
		"written": {"server-type: SMTP, server: smtp.office365.com, password: {file: ../pass}, maximum-messages-per-minute: 0, maximum-messages-per-day: 7, maximum-recipients-per-day: 20",
			[]Limit{{"messages", 7, day}, {"recipients", 20, day}}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t).good(one("smtp-client", tc.options)).Mailboxes[0].Outbound
			if !slices.Equal(s.Post.Limits, tc.want) {
				t.Errorf("%v, want %v", s.Post.Limits, tc.want)
			}
		})
	}
}
