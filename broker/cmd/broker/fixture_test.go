package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"mailporter/kit/certtest"
	"mailporter/sandbox"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

func TestMain(m *testing.M) { runScripts(m) }

const (
	tenant = "6f1d2c3b-0a49-4d57-8e6a-b1c2d3e4f506"
	worker = "spiffe://mail.example/worker"

	// Everything secret has the word MARKER in it, so that a search finds it wherever it gets to.
	appSecret    = "MARKER-app~secret"
	oldSecret    = "MARKER-expired~secret"
	userPassword = "MARKER-user-password"
	basicPass    = "MARKER-basic-password"
	googleSecret = "MARKER-google-secret"
	googleSeed   = "MARKER-google-refresh"
	entraSeed    = "MARKER-entra-refresh"
)

func provider(t *testing.T, life time.Duration) *sandbox.Sandbox {
	return providerWith(t, life, func(*sandbox.Config) {})
}

// providerWith is provider with a change.
func providerWith(t *testing.T, life time.Duration, change func(*sandbox.Config)) *sandbox.Sandbox {
	t.Helper()
	app := func(id string, secrets ...sandbox.Secret) sandbox.App {
		return sandbox.App{ClientID: id, Secrets: secrets, Roles: []string{"IMAP.AccessAsApp"}, Mailboxes: []string{"*"},
			Scopes: []string{"https://outlook.office.com/IMAP.AccessAsUser.All"}}
	}
	config := sandbox.Config{
		TokenLife: life,
		Tenants: []sandbox.Tenant{{ID: tenant, Domains: []string{"contoso.example"},
			Apps: []sandbox.App{
				app("service", sandbox.Secret{Value: appSecret}), app("old", sandbox.Secret{Value: oldSecret, Expired: true}),
				{ClientID: "public", PublicClient: true, Scopes: []string{"IMAP.AccessAsUser.All"}}, app("web", sandbox.Secret{Value: appSecret}),
			},
			Users: []sandbox.User{{Address: "ropc@contoso.example", Password: userPassword}, {Address: "entra@contoso.example"},
				{Address: "typo@contoso.example", Password: "another"}, {Address: "mfa@contoso.example", Password: userPassword, MFA: true},
				{Address: "private@contoso.example", Password: userPassword}}}},
		Google: sandbox.GoogleConfig{Clients: []sandbox.GoogleClient{{ID: "gclient", Secret: googleSecret}},
			Users:           []sandbox.GoogleUser{{Address: "orders@shop.example"}, {Address: "robot@shop.example"}},
			ServiceAccounts: []sandbox.ServiceAccount{serviceAccount(t)}},
		RefreshTokens: []sandbox.RefreshToken{
			{Token: googleSeed, Tenant: "google", Client: "gclient", User: "orders@shop.example", Scopes: []string{"https://mail.google.com/"}},
			{Token: entraSeed, Tenant: tenant, Client: "web", User: "entra@contoso.example", Scopes: []string{"https://outlook.office.com/IMAP.AccessAsUser.All"}},
			{Token: "MARKER-revoked", Tenant: "google", Client: "gclient", User: "orders@shop.example", Revoked: true},
		},
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

// mailboxes is one mailbox for each grant and for each thing that can be wrong.
const mailboxes = `
applications:
  service: {directory-id: TENANT, client-id: service, secrets: [{file: ../secrets/app}], grant-type: client_credentials, tenant-authority: "AUTHORITY"}
  public: {directory-id: TENANT, client-id: public, tenant-authority: "AUTHORITY"}
secret-shop: {password: {file: ../secrets/google}}
defaults:
  pop-client: {type: IMAP, server: localhost, mail.imap.auth.mechanisms: XOAUTH2}
mailboxes:
  - {address: app@contoso.example, application: service, pop-client: {}}
  - {address: app2@contoso.example, application: service, pop-client: {}}
  - {address: ropc@contoso.example, application: public, password: {file: ../secrets/user}, pop-client: {}}
  - {address: entra@contoso.example, application: service, client-id: web, grant-type: refresh_token, password: {file: ../secrets/entra-seed}, scope: "https://outlook.office.com/IMAP.AccessAsUser.All", pop-client: {}}
  - {address: orders@shop.example, tenant-authority: "GOOGLE", client-id: gclient, secret: shop, password: {file: ../secrets/google-seed}, pop-client: {}}
  - {address: robot@shop.example, tenant-authority: "GOOGLE", service-account-key: {file: ../secrets/robot.json}, pop-client: {}}
  - {address: basic@contoso.example, smtp-client: {server-type: SMTP, server: localhost, enable-authentication: true, password: {file: ../secrets/basic}}}
  - {address: wrong@contoso.example, application: service, secrets: [{file: ../secrets/wrong}], client-id: web, pop-client: {}}
  - {address: expired@contoso.example, application: service, client-id: old, secrets: [{file: ../secrets/old}], pop-client: {}}
  - {address: lost@contoso.example, application: service, directory-id: 00000000-0000-4000-8000-000000000000, pop-client: {}}
  - {address: mfa@contoso.example, application: public, password: {file: ../secrets/user}, pop-client: {}}
  - {address: private@contoso.example, application: public, client-id: web, password: {file: ../secrets/user}, pop-client: {}}
  - {address: typo@contoso.example, application: public, password: {file: ../secrets/user}, pop-client: {}}
  - {address: revoked@shop.example, tenant-authority: "GOOGLE", client-id: gclient, secret: shop, password: {file: ../secrets/revoked}, pop-client: {}}
  - {address: other@fabrikam.example, application: service, pop-client: {}}
`

const policy = `
rules:
  - {identity: "spiffe://mail.example/worker", mailboxes: ["*@contoso.example", "*@shop.example"], verbs: [token, password, settings, report], tenant-wide: true}
`

// site is a folder with a configuration for a sandbox, and what a running broker prints.
type site struct {
	t      *testing.T
	dir    string
	ca     *certtest.CA
	out    *output // standard output and error, the audit among it
	addr   string
	admin  string
	level  string // of the log; empty: info
	stop   context.CancelFunc
	exited chan int
}

func newSite(t *testing.T, sb *sandbox.Sandbox, store string) *site {
	t.Helper()
	ca, err := certtest.NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, dir: t.TempDir(), ca: ca}
	host := strings.TrimPrefix(sb.Authority(), "https://")
	s.write("broker.yaml", fmt.Sprintf("listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\ntls: {certificate: tls/broker.pem, key: tls/broker-key.pem, client-ca: tls/ca.pem}\n"+
		"store: %s\nkeyset: secrets/keyset.json\npolicy: policy.yaml\nmailboxes: [mailboxes.d/*.yaml]\naudit: {file: audit.jsonl}\ntrusted-ca: [provider.pem]\nallowed-authorities: [%q]\n", store, host))
	s.write("policy.yaml", policy)
	s.write("provider.pem", string(sb.CAPEM()))
	s.write("mailboxes.d/all.yaml", strings.NewReplacer("TENANT", tenant, "AUTHORITY", sb.Authority(), "GOOGLE", sb.GoogleAuthority()).Replace(mailboxes))
	for name, value := range map[string]string{"app": appSecret, "user": userPassword, "basic": basicPass, "google": googleSecret, "google-seed": googleSeed,
		"entra-seed": entraSeed, "wrong": "MARKER-wrong", "old": oldSecret, "revoked": "MARKER-revoked",
		"robot.json": keyFile(t)} {
		s.write("secrets/"+name, value+"\n")
	}
	s.write("tls/ca.pem", string(ca.PEM()))
	pair := s.issue(certtest.Options{CommonName: "broker", IP: []net.IP{net.IPv4(127, 0, 0, 1)}})
	s.write("tls/broker.pem", string(pair.Certificate))
	s.write("tls/broker-key.pem", string(pair.Key))
	return s
}

func (s *site) issue(o certtest.Options) certtest.Pair {
	s.t.Helper()
	pair, err := s.ca.Issue(o)
	if err != nil {
		s.t.Fatal(err)
	}
	return pair
}

// write puts a file in its place in one step, as editors and secret mounts do.
func (s *site) write(name, text string) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	err := os.MkdirAll(filepath.Dir(path), 0o700)
	if err == nil {
		err = os.WriteFile(path+".new", []byte(text), 0o600)
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) read(name string) string {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, name))
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

// mustServe waits for the reload after which the mailbox gets a token.
func (s *site) mustServe(c brokerv1.TokenServiceClient, mailbox string) {
	s.t.Helper()
	for late := time.Now().Add(30 * time.Second); ; {
		_, more := s.out.now()
		_, err := ask(c, mailbox, in)
		if err == nil {
			return
		}
		if time.Now().After(late) {
			s.t.Fatal(err)
		}
		select {
		case <-more: // every reload is logged
		case <-time.After(time.Second):
		}
	}
}

// start runs the broker until end or the end of the test.
func (s *site) start() {
	s.t.Helper()
	s.out = newOutput()
	ctx, stop := context.WithCancel(context.Background())
	s.stop, s.exited = stop, make(chan int, 1)
	go func() {
		s.exited <- newApp().Execute(ctx, []string{"-config", filepath.Join(s.dir, "broker.yaml"), "-log-level", cmp.Or(s.level, "info")}, s.out, s.out)
	}()
	s.t.Cleanup(s.end)
	s.addr = s.out.wait(s.t, "serving", "address")
	s.admin = s.out.wait(s.t, "started", "admin")
}

// end drains the broker and checks that it went well.
func (s *site) end() {
	if s.stop == nil {
		return
	}
	s.stop()
	s.stop = nil
	if code := <-s.exited; code != 0 {
		s.t.Errorf("exit code %d:\n%s", code, s.out.String())
	}
}

// connect shows a certificate for the identity; empty: none at all.
func (s *site) connect(identity string) brokerv1.TokenServiceClient {
	s.t.Helper()
	return brokerv1.NewTokenServiceClient(s.dial(identity))
}

// mailboxes is connect for the operator's side.
func (s *site) mailboxes(identity string) brokerv1.MailboxServiceClient {
	s.t.Helper()
	return brokerv1.NewMailboxServiceClient(s.dial(identity))
}

func (s *site) dial(identity string) *grpc.ClientConn {
	s.t.Helper()
	conf := &tls.Config{RootCAs: s.ca.Pool()}
	if identity != "" {
		cert, err := s.issue(certtest.Options{CommonName: "worker", URI: identity}).TLS()
		if err != nil {
			s.t.Fatal(err)
		}
		conf.Certificates = []tls.Certificate{cert}
	}
	conn, err := grpc.NewClient(s.addr, grpc.WithTransportCredentials(credentials.NewTLS(conf)))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	return conn
}

func ask(c brokerv1.TokenServiceClient, mailbox string, d brokerv1.Direction) (*brokerv1.AcquireTokenResponse, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return c.AcquireToken(ctx, &brokerv1.AcquireTokenRequest{Selector: &brokerv1.Selector{Mailbox: mailbox, Direction: d}})
}

const in, out = brokerv1.Direction_DIRECTION_INBOUND, brokerv1.Direction_DIRECTION_OUTBOUND

// reason is that of an error's ErrorInfo, with its code.
func reason(err error) string {
	st := status.Convert(err)
	for _, d := range st.Details() {
		if i, ok := d.(*errdetails.ErrorInfo); ok {
			return st.Code().String() + " " + i.GetMetadata()["class"] + " " + i.GetReason()
		}
	}
	return st.Code().String()
}

// metrics is the admin server's page.
func (s *site) metrics() string {
	s.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + s.admin + "/metrics")
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(b)
}

// files is everything that the broker wrote: state and audit, not what the test gave it.
func (s *site) files() map[string][]byte {
	s.t.Helper()
	all := map[string][]byte{}
	err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(s.dir, path)
		if err != nil || d.IsDir() || strings.HasPrefix(rel, "secrets/") && rel != "secrets/keyset.json" {
			return err
		}
		all[rel], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return all
}

// output collects log lines and lets a test wait for one.
type output struct {
	mu   sync.Mutex
	b    bytes.Buffer
	more chan struct{} // closed and replaced at every write
}

func newOutput() *output { return &output{more: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.more)
	o.more = make(chan struct{})
	return o.b.Write(p)
}

func (o *output) String() string {
	text, _ := o.now()
	return text
}

func (o *output) now() (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String(), o.more
}

// wait returns the value of key in the first line with that message.
func (o *output) wait(t *testing.T, message, key string) string {
	t.Helper()
	for late := time.After(30 * time.Second); ; {
		text, more := o.now()
		for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
			var line map[string]any
			if json.Unmarshal(lines.Bytes(), &line) == nil && line["msg"] == message {
				value, _ := line[key].(string)
				return value
			}
		}
		select {
		case <-more:
		case <-late:
			t.Fatalf("no %q in\n%s", message, text)
		}
	}
}

// leakFree is asked once all tests are over. The Redis library's probe of a dead server, and its look at a cluster, notice
// within a second that their client was closed.
func leakFree() error {
	return goleak.Find(goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"),
		goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9.(*clusterStateHolder).LazyReload.func1"))
}
