package service

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"mailporter/broker/internal/audit"
	"mailporter/broker/internal/directory"
	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/token"
	"mailporter/kit/certtest"
	"mailporter/kit/secret"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	worker   = "spiffe://mail.example/imap-worker"
	operator = "ops.example"
)

const mailboxFile = `
applications:
  contoso: {directory-id: d, client-id: c, secrets: [{file: ../app}]}
mailboxes:
  - address: Support@contoso.com
    application: contoso
    pop-client: {type: IMAP, mail.imap.auth.mechanisms: XOAUTH2, grant-type: client_credentials, disposition: "move:Done"}
    smtp-client: {server-type: SMTP, server: relay.example, enable-authentication: true, password: {file: ../pass}, sender-aliases: ["*@contoso.com"]}
  - address: relay@contoso.com
    smtp-client: {server-type: SMTP, server: relay.example}
  - address: secret@fabrikam.com
    application: contoso
    pop-client: {type: GRAPH}
`

const policyFile = `
rules:
  - {identity: "spiffe://mail.example/imap-worker", mailboxes: ["*@contoso.com"], verbs: [token, settings, report, password], tenant-wide: true}
  - {identity: "spiffe://mail.example/narrow", mailboxes: ["*@contoso.com"], verbs: [token]}
  - {identity: "spiffe://mail.example/slow", mailboxes: ["*@contoso.com"], verbs: [token], tenant-wide: true, rate: 1/h}
  - {identity: ops.example, mailboxes: ["*"], verbs: [admin]}
`

// tokens is a keeper in which the test decides.
type tokens struct {
	mu     sync.Mutex
	wishes []keeper.Wish
	ask    func(ctx context.Context, w keeper.Wish) (keeper.Handout, error)
	reject func(secret.Fingerprint) keeper.Rejection
	status keeper.Status

	checked []keeper.Wish
	reset   []string
	trouble error // of Check and Reset

	looks *keeper.Keeper // behind Watch
}

func (k *tokens) Watch(w keeper.Wish, changed func()) *keeper.Watch { return k.looks.Watch(w, changed) }

func (k *tokens) Ask(ctx context.Context, w keeper.Wish) (keeper.Handout, error) {
	k.mu.Lock()
	k.wishes = append(k.wishes, w)
	k.mu.Unlock()
	return k.ask(ctx, w)
}

func (k *tokens) Reject(_ context.Context, _ *token.Credential, _ token.Audience, f secret.Fingerprint) keeper.Rejection {
	return k.reject(f)
}

func (k *tokens) Status(context.Context, *token.Credential, token.Audience) keeper.Status {
	return k.status
}

func (k *tokens) Check(_ context.Context, w keeper.Wish) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.checked = append(k.checked, w)
	return k.trouble
}

func (k *tokens) Reset(_ context.Context, c *token.Credential) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.reset = append(k.reset, c.Label)
	return k.trouble
}

// good hands out a token that lives for an hour.
func good(_ context.Context, w keeper.Wish) (keeper.Handout, error) {
	sent := time.Now()
	t := token.Token{Value: secret.New("MARKER-token"), Sent: sent, Expires: sent.Add(time.Hour), Generation: 5, Trace: "trace-1"}
	return keeper.Handout{Token: t, Fingerprint: t.Value.Fingerprint(), UsableUntil: t.UsableUntil(w.Margin), RenewAt: sent.Add(45 * time.Minute), Source: keeper.FromProvider}, nil
}

// broker is a served Server with everything around it.
type broker struct {
	t      *testing.T
	dir    string
	keeper *tokens
	server *Server
	audit  *lines
	log    *lines
	ca     *certtest.CA
	accept Accounts
	addr   string
	stop   context.CancelFunc
	ended  chan error
}

// lines collects what is written, or refuses it.
type lines struct {
	mu  sync.Mutex
	b   bytes.Buffer
	err error
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return 0, l.err
	}
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lines) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

// last is the newest audit entry.
func (l *lines) last(t *testing.T) audit.Entry {
	t.Helper()
	all := strings.Split(strings.TrimSpace(l.String()), "\n")
	var e audit.Entry
	if err := json.Unmarshal([]byte(all[len(all)-1]), &e); err != nil {
		t.Fatal(err)
	}
	return e
}

func newBroker(t *testing.T) *broker {
	t.Helper()
	return newBrokerFor(t, nil)
}

// newBrokerFor accepts service-account tokens as well.
func newBrokerFor(t *testing.T, accounts Accounts) *broker {
	t.Helper()
	b := &broker{accept: accounts, t: t, dir: t.TempDir(), keeper: &tokens{ask: good}, audit: &lines{}, log: &lines{}, ended: make(chan error, 1)}
	b.write("broker.yaml", "policy: policy.yaml\nmailboxes: [m/*.yaml]\n")
	b.write("policy.yaml", policyFile)
	b.write("m/a.yaml", mailboxFile)
	b.write("app", "MARKER-app")
	b.write("pass", "MARKER-pass")
	b.serve()
	return b
}

func (b *broker) write(name, text string) {
	b.t.Helper()
	writeFile(b.t, filepath.Join(b.dir, name), text)
}

func writeFile(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (b *broker) serve() {
	b.t.Helper()
	path := filepath.Join(b.dir, "broker.yaml")
	c, complaints := directory.Load(path, nil)
	if err := complaints.Err(); err != nil {
		b.t.Fatal(err)
	}
	var err error
	if b.ca, err = certtest.NewCA("test"); err != nil {
		b.t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(b.log, nil))
	b.server = New(Config{Tokens: b.keeper, Directory: directory.Open(path, c, log), Audit: audit.To(b.audit), Log: log,
		Metrics: prometheus.NewRegistry(), Accounts: b.accept, TLS: &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: b.ca.Pool(),
			Certificates: []tls.Certificate{b.certificate(certtest.Options{CommonName: "broker", IP: []net.IP{net.IPv4(127, 0, 0, 1)}})}}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	b.addr = l.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	b.stop = stop
	go func() { b.ended <- b.server.Serve(ctx, l, 5*time.Second) }()
	b.t.Cleanup(func() {
		stop()
		if err := <-b.ended; err != nil {
			b.t.Error(err)
		}
		if strings.Contains(b.audit.String()+b.log.String(), "MARKER") {
			b.t.Errorf("a secret was written:\n%s\n%s", b.audit.String(), b.log.String())
		}
	})
}

func (b *broker) certificate(o certtest.Options) tls.Certificate {
	b.t.Helper()
	pair, err := b.ca.Issue(o)
	if err != nil {
		b.t.Fatal(err)
	}
	cert, err := pair.TLS()
	if err != nil {
		b.t.Fatal(err)
	}
	return cert
}

// as connects with a certificate for the identity: a SPIFFE id or a DNS name.
func (b *broker) as(identity string) *grpc.ClientConn {
	o := certtest.Options{CommonName: "unused", DNS: []string{identity}}
	if strings.HasPrefix(identity, "spiffe:") {
		o = certtest.Options{CommonName: "unused", URI: identity}
	}
	return b.connect(b.certificate(o))
}

func (b *broker) connect(certs ...tls.Certificate) *grpc.ClientConn {
	b.t.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(b.ca.PEM())
	conn, err := grpc.NewClient(b.addr, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: pool, Certificates: certs})))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close() })
	return conn
}

func (b *broker) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	b.t.Cleanup(cancel)
	return ctx
}

func inbound(mailbox string) *brokerv1.Selector {
	return &brokerv1.Selector{Mailbox: mailbox, Direction: brokerv1.Direction_DIRECTION_INBOUND}
}

func outbound(mailbox string) *brokerv1.Selector {
	return &brokerv1.Selector{Mailbox: mailbox, Direction: brokerv1.Direction_DIRECTION_OUTBOUND}
}

// details checks that an error has exactly one ErrorInfo of ours and returns it with the others.
func details(t *testing.T, err error, code codes.Code, reason string) (*errdetails.ErrorInfo, []any) {
	t.Helper()
	st := status.Convert(err)
	if st.Code() != code {
		t.Fatalf("code %s, want %s: %s", st.Code(), code, st.Message())
	}
	if strings.Contains(st.String(), "MARKER") {
		t.Fatalf("a secret in %v", st)
	}
	var info *errdetails.ErrorInfo
	var rest []any
	for _, d := range st.Details() {
		if i, ok := d.(*errdetails.ErrorInfo); ok && info == nil {
			info = i
		} else {
			rest = append(rest, d)
		}
	}
	if info == nil || info.GetDomain() != "mailporter" || info.GetReason() != reason {
		t.Fatalf("ErrorInfo %v, want the reason %s", info, reason)
	}
	return info, rest
}
