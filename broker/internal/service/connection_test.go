package service

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"mailporter/broker/internal/audit"
	"mailporter/broker/internal/directory"
	"mailporter/kit/certtest"
)

// TestCertificateEndsOnAnOpenConnection: a worker that never hangs up is asked for its certificate again.
func TestCertificateEndsOnAnOpenConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, err := certtest.NewCA("test")
		if err != nil {
			t.Fatal(err)
		}
		issue := func(o certtest.Options) tls.Certificate {
			pair, err := ca.Issue(o)
			if err != nil {
				t.Fatal(err)
			}
			cert, err := pair.TLS()
			if err != nil {
				t.Fatal(err)
			}
			return cert
		}
		dir := t.TempDir()
		for name, text := range map[string]string{"broker.yaml": "policy: policy.yaml\nmailboxes: [a.yaml]\n", "policy.yaml": policyFile,
			"a.yaml": "mailboxes: [{address: support@contoso.com, pop-client: {type: GRAPH, directory-id: d, client-id: c, password: {file: app}}}]\n", "app": "MARKER"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		files, complaints := directory.Load(filepath.Join(dir, "broker.yaml"), nil)
		if err := complaints.Err(); err != nil {
			t.Fatal(err)
		}
		quiet := slog.New(slog.DiscardHandler)
		s := New(Config{Tokens: &tokens{ask: good}, Directory: directory.Open(dir, files, quiet), Audit: audit.To(&lines{}), Log: quiet, Metrics: prometheus.NewRegistry(),
			TLS: &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool(), Certificates: []tls.Certificate{issue(certtest.Options{DNS: []string{"broker"}})}}})
		l := bufconn.Listen(1 << 20)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Serve(ctx, l, time.Second) }()
		t.Cleanup(func() {
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
		own := issue(certtest.Options{CommonName: "x", URI: worker, NotAfter: time.Now().Add(100 * time.Minute)})
		conn, err := grpc.NewClient("passthrough:///broker", grpc.WithIdleTimeout(0), grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }),
			grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: ca.Pool(), Certificates: []tls.Certificate{own}})))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		for start := time.Now(); time.Since(start) < 4*time.Hour; time.Sleep(5 * time.Minute) {
			err := acquire(t.Context(), conn)
			switch age := time.Since(start); {
			case age < 100*time.Minute && err != nil:
				t.Fatalf("after %v: %v", age, err)
			case age > 3*time.Hour && status.Code(err) != codes.Unavailable:
				t.Fatalf("served %v after the certificate ended: %v", age-100*time.Minute, err)
			}
		}
	})
}
