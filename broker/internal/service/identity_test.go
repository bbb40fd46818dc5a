package service

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"mailporter/broker/internal/serviceaccount"
	"mailporter/broker/internal/serviceaccount/issuertest"
	"mailporter/kit/certtest"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

const accountRule = "\n  - {identity: \"system:serviceaccount:mail:*\", mailboxes: [\"*@contoso.com\"], verbs: [token, settings], tenant-wide: true}\n"

// clusterBroker accepts the issuer's tokens, and its policy knows the accounts of the namespace mail.
func clusterBroker(t *testing.T) (*broker, *issuertest.Issuer) {
	t.Helper()
	i := issuertest.Start(t)
	v, err := serviceaccount.New(serviceaccount.Config{Issuer: issuertest.Name, Audience: issuertest.Audience, Keys: i.URL, Roots: i.CA.Pool(),
		Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	b := newBrokerFor(t, v)
	b.write("policy.yaml", strings.TrimSuffix(policyFile, "\n")+accountRule)
	if err := b.server.Directory.Reload().Err(); err != nil {
		t.Fatal(err)
	}
	return b, i
}

// withToken is a context whose calls carry the token.
func (b *broker) withToken(token string) context.Context {
	return metadata.AppendToOutgoingContext(b.ctx(), "authorization", "Bearer "+token)
}

func acquire(ctx context.Context, conn *grpc.ClientConn) error {
	_, err := brokerv1.NewTokenServiceClient(conn).AcquireToken(ctx, &brokerv1.AcquireTokenRequest{Selector: inbound("support@contoso.com")})
	return err
}

func TestServiceAccounts(t *testing.T) {
	b, i := clusterBroker(t)
	conn := b.connect()
	if err := acquire(b.withToken(i.Token(issuertest.Good())), conn); err != nil {
		t.Fatal(err)
	}
	if e := b.audit.last(t); e.Identity != issuertest.Worker || e.Decision != "allow" || !strings.HasPrefix(e.Rule, "policy.yaml:") {
		t.Fatalf("audit %+v", e)
	}
	large := i.Token(issuertest.Good().With("padding", strings.Repeat("x", 9<<10)))
	if err := acquire(b.withToken(large), conn); err != nil {
		t.Fatalf("a token of more than 8 KiB: %v", err)
	}
	err := acquire(b.withToken(i.Token(issuertest.Good().With("sub", "system:serviceaccount:shop:imap-worker"))), conn)
	details(t, err, codes.PermissionDenied, "POLICY_DENIED")
	if e := b.audit.last(t); e.Identity != "system:serviceaccount:shop:imap-worker" || e.Decision != "deny" {
		t.Fatalf("audit %+v", e)
	}
}

func TestBadServiceAccountTokens(t *testing.T) {
	b, i := clusterBroker(t)
	conn := b.connect()
	if err := acquire(b.withToken(i.Token(issuertest.Good())), conn); err != nil {
		t.Fatal(err)
	}
	_, id := i.Key()
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	bearer := func(values ...string) context.Context {
		ctx := b.ctx()
		for _, v := range values {
			ctx = metadata.AppendToOutgoingContext(ctx, "authorization", v)
		}
		return ctx
	}
	good := "Bearer " + i.Token(issuertest.Good())
	for name, tc := range map[string]struct {
		ctx    context.Context
		reason string
	}{
		"none at all":      {bearer(), "CALLER_NOT_AUTHENTICATED"},
		"two":              {bearer(good, good), "CALLER_NOT_AUTHENTICATED"},
		"another scheme":   {bearer("Basic TUFSS0VSOg=="), "CALLER_NOT_AUTHENTICATED"},
		"no scheme":        {bearer(strings.TrimPrefix(good, "Bearer ")), "CALLER_NOT_AUTHENTICATED"},
		"no token":         {bearer("Bearer "), "CALLER_TOKEN_INVALID"},
		"garbage":          {bearer("Bearer MARKER.MARKER.MARKER"), "CALLER_TOKEN_INVALID"},
		"another audience": {b.withToken(i.Token(issuertest.Good().With("aud", "MARKETING"))), "CALLER_TOKEN_INVALID"},
		"expired":          {b.withToken(i.Token(issuertest.Good().With("exp", time.Now().Add(-time.Minute).Unix()))), "CALLER_TOKEN_EXPIRED"},
		"another's key":    {b.withToken(issuertest.Sign(t, jose.RS256, other, id, issuertest.Good())), "CALLER_TOKEN_INVALID"},
		"far too long":     {b.withToken(strings.Repeat("x", 20<<10)), "CALLER_TOKEN_INVALID"},
	} {
		t.Run(name, func(t *testing.T) {
			info, _ := details(t, acquire(tc.ctx, conn), codes.Unauthenticated, tc.reason)
			if info.GetMetadata()["remedy"] == "" {
				t.Error("no remedy")
			}
			if e := b.audit.last(t); e.Identity != "" || e.Decision != "deny" || e.Outcome != "Unauthenticated" || e.Reason != tc.reason || e.Method != "AcquireToken" {
				t.Errorf("audit %+v", e)
			}
		})
	}
	if strings.Contains(b.audit.String()+b.log.String(), strings.Split(good, ".")[1]) {
		t.Error("a token was written down")
	}
}

// TestHeadersAreBounded: whatever an unknown caller sends, the broker does not keep more than 64 KiB of it.
func TestHeadersAreBounded(t *testing.T) {
	b, _ := clusterBroker(t)
	if err := acquire(b.withToken(strings.Repeat("x", 128<<10)), b.connect()); err == nil {
		t.Fatal("accepted")
	}
}

func TestIssuerAwayIsNoRefusal(t *testing.T) {
	b, i := clusterBroker(t)
	token := i.Token(issuertest.Good())
	i.Stop()
	defer i.Resume()
	_, rest := details(t, acquire(b.withToken(token), b.connect()), codes.Unavailable, "CALLER_TOKEN_UNVERIFIABLE")
	if len(rest) == 0 {
		t.Error("it does not say when to come back")
	}
}

// TestCertificateWins: who shows one is who it says, whatever token comes with it.
func TestCertificateWins(t *testing.T) {
	b, i := clusterBroker(t)
	conn := b.as(worker)
	for _, token := range []string{i.Token(issuertest.Good()), "garbage"} {
		if err := acquire(b.withToken(token), conn); err != nil {
			t.Fatal(err)
		}
		if e := b.audit.last(t); e.Identity != worker {
			t.Fatalf("identity %s", e.Identity)
		}
	}
	strangers, err := certtest.NewCA("strangers")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := strangers.Issue(certtest.Options{CommonName: "x", URI: worker})
	if err != nil {
		t.Fatal(err)
	}
	cert, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	// A client of Go's shows no certificate of an authority that the server did not name, so it is made to.
	insistent, err := grpc.NewClient(b.addr, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: b.ca.Pool(),
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }})))
	if err != nil {
		t.Fatal(err)
	}
	defer insistent.Close()
	if err := acquire(b.withToken(i.Token(issuertest.Good())), insistent); status.Code(err) != codes.Unavailable {
		t.Fatalf("a stranger's certificate beside a good token: %v", err)
	}
}

// TestTokensAreOffByDefault: without accounts the handshake itself wants a certificate.
func TestTokensAreOffByDefault(t *testing.T) {
	b, i := newBroker(t), issuertest.Start(t)
	if err := acquire(b.withToken(i.Token(issuertest.Good())), b.connect()); status.Code(err) != codes.Unavailable {
		t.Fatal(err)
	}
}

// TestReloadedCertificatesStayOptional: the configuration of each handshake is made anew, and must let tokens through too.
func TestReloadedCertificatesStayOptional(t *testing.T) {
	inner := &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS13}
	conf := certificateOptional(&tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return inner, nil }})
	got, err := conf.GetConfigForClient(nil)
	if err != nil || conf.ClientAuth != tls.VerifyClientCertIfGiven || got.ClientAuth != tls.VerifyClientCertIfGiven || got.MinVersion != tls.VersionTLS13 {
		t.Fatalf("%v, %v", got, err)
	}
	if inner.ClientAuth != tls.RequireAndVerifyClientCert {
		t.Fatal("what others use was changed")
	}
}

// TestStreamEndsWithItsToken: and cleanly, so that the worker comes again with the next one.
func TestStreamEndsWithItsToken(t *testing.T) {
	b, i := clusterBroker(t)
	ctx := b.withToken(i.Token(issuertest.Good().With("exp", time.Now().Add(2*time.Second).Unix())))
	stream, err := brokerv1.NewMailboxServiceClient(b.connect()).WatchMailboxes(ctx, &brokerv1.WatchMailboxesRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); err == nil || err.Error() != "EOF" {
		t.Fatalf("want the end of the stream, got %v", err)
	}
}

// TestNamesThatPose: a name of a certificate must not pass as what a URI or the cluster vouches for.
func TestNamesThatPose(t *testing.T) {
	b, _ := clusterBroker(t)
	for name, o := range map[string]certtest.Options{
		"a common name like a URI":      {CommonName: worker},
		"a common name like an account": {CommonName: issuertest.Worker},
		"a DNS name like an account":    {CommonName: "worker", DNS: []string{issuertest.Worker}},
		"nothing":                       {},
	} {
		t.Run(name, func(t *testing.T) {
			details(t, acquire(b.ctx(), b.connect(b.certificate(o))), codes.Unauthenticated, "CALLER_NOT_AUTHENTICATED")
		})
	}
}

// TestUnknownAndForbiddenAlike: whatever is asked, a mailbox that does not exist and one that is forbidden get the same
// answer, to the byte, and both stand in the audit.
func TestUnknownAndForbiddenAlike(t *testing.T) {
	b := newBroker(t)
	conn := b.as(worker)
	tokens, mailboxes := brokerv1.NewTokenServiceClient(conn), brokerv1.NewMailboxServiceClient(conn)
	for name, call := range map[string]func(address string) error{
		"AcquireToken": func(a string) error {
			_, err := tokens.AcquireToken(b.ctx(), &brokerv1.AcquireTokenRequest{Selector: inbound(a)})
			return err
		},
		"ReportRejection": func(a string) error {
			_, err := tokens.ReportRejection(b.ctx(), &brokerv1.ReportRejectionRequest{Selector: inbound(a), Fingerprint: make([]byte, 32),
				Kind: brokerv1.RejectionKind_REJECTION_KIND_SASL})
			return err
		},
		"GetMailbox": func(a string) error {
			_, err := mailboxes.GetMailbox(b.ctx(), &brokerv1.GetMailboxRequest{Mailbox: a})
			return err
		},
		"CheckMailbox": func(a string) error {
			_, err := mailboxes.CheckMailbox(b.ctx(), &brokerv1.CheckMailboxRequest{Selector: inbound(a)})
			return err
		},
		"ResetMailbox": func(a string) error {
			_, err := mailboxes.ResetMailbox(b.ctx(), &brokerv1.ResetMailboxRequest{Selector: inbound(a)})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			var answers []string
			for _, address := range []string{"secret@fabrikam.com", "nobody@fabrikam.com", "nobody@elsewhere.example"} {
				err := call(address)
				details(t, err, codes.PermissionDenied, "POLICY_DENIED")
				answers = append(answers, status.Convert(err).Proto().String())
				if e := b.audit.last(t); e.Mailbox != address || e.Method != name || e.Decision != "deny" || e.Outcome != "PermissionDenied" || e.Rule == "" {
					t.Errorf("audit %+v", e)
				}
			}
			if answers[0] != answers[1] || answers[0] != answers[2] {
				t.Errorf("the answers differ:\n%s", strings.Join(answers, "\n"))
			}
		})
	}
}
