package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"mailporter/broker/internal/serviceaccount/issuertest"
	"mailporter/kit/daemon"
	"mailporter/kit/tokenclient"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

// clusterSite accepts the issuer's tokens for the accounts of the namespace mail.
func clusterSite(t *testing.T, i *issuertest.Issuer) *site {
	t.Helper()
	s := newSite(t, provider(t, time.Hour), "file:state")
	s.write("cluster.pem", string(i.CA.PEM()))
	s.write("broker.yaml", s.read("broker.yaml")+fmt.Sprintf("kubernetes: {issuer: %q, jwks: %q, ca: cluster.pem}\n", issuertest.Name, i.URL))
	s.write("policy.yaml", policy+"  - {identity: \"system:serviceaccount:mail:*\", mailboxes: [app@contoso.example], verbs: [token], tenant-wide: true}\n")
	return s
}

// fromPod is a client without a certificate that sends the token in the file.
func (s *site) fromPod(tokenFile string) brokerv1.TokenServiceClient {
	s.t.Helper()
	conn, err := grpc.NewClient(s.addr, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: s.ca.Pool()})),
		grpc.WithPerRPCCredentials(tokenclient.TokenFile(tokenFile)))
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	return brokerv1.NewTokenServiceClient(conn)
}

func TestPodsNeedNoCertificate(t *testing.T) {
	i := issuertest.Start(t)
	s := clusterSite(t, i)
	s.start()
	pod := s.fromPod(i.File(issuertest.Good()))
	if _, err := ask(pod, "app@contoso.example", in); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(pod, "ropc@contoso.example", in); status.Code(err) != codes.PermissionDenied {
		t.Fatalf("a mailbox that is not the account's: %v", err)
	}
	if _, err := ask(s.connect(worker), "ropc@contoso.example", in); err != nil {
		t.Fatalf("certificates go on working: %v", err)
	}
	if _, err := ask(s.connect(""), "app@contoso.example", in); reason(err) != "Unauthenticated wrong-config CALLER_NOT_AUTHENTICATED" {
		t.Fatalf("neither certificate nor token: %v", err)
	}
	if _, err := ask(s.fromPod(i.File(issuertest.Good().With("aud", "another"))), "app@contoso.example", in); reason(err) != "Unauthenticated wrong-config CALLER_TOKEN_INVALID" {
		t.Fatalf("another audience: %v", err)
	}
	s.end()
	audit := s.read("audit.jsonl")
	for _, want := range []string{`"identity":"system:serviceaccount:mail:imap-worker"`, `"reason":"CALLER_TOKEN_INVALID"`} {
		if !strings.Contains(audit, want) {
			t.Errorf("no %s in the audit", want)
		}
	}
	if strings.Contains(audit+s.out.String(), "eyJ") {
		t.Error("a token was written down")
	}
}

// TestWorkersReadTheirTokenAnew: the worker's own client, and a kubelet that replaces the file.
func TestWorkersReadTheirTokenAnew(t *testing.T) {
	i := issuertest.Start(t)
	s := clusterSite(t, i)
	s.start()
	s.write("pod/token", i.Token(issuertest.Good().With("exp", time.Now().Add(-time.Minute).Unix())))
	c, err := tokenclient.Dial(tokenclient.Config{Address: s.addr, TLS: daemon.TLSFiles{CA: filepath.Join(s.dir, "tls/ca.pem")}, TokenFile: filepath.Join(s.dir, "pod/token")},
		slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	wish := tokenclient.Ask{Mailbox: "app@contoso.example", Direction: tokenclient.Inbound}
	var refused *tokenclient.Error
	if _, err := c.Acquire(t.Context(), wish); !errors.As(err, &refused) || refused.Reason != "CALLER_TOKEN_EXPIRED" || !refused.NeedsHuman() || refused.Remedy == "" {
		t.Fatalf("an expired token: %v", err)
	}
	s.write("pod/token", i.Token(issuertest.Good()))
	if _, err := c.Acquire(t.Context(), wish); err != nil {
		t.Fatalf("the next token, on the same connection: %v", err)
	}
	s.write("pod/token", i.Token(issuertest.Good().With("sub", "system:serviceaccount:shop:imap-worker")))
	if _, err := c.Acquire(t.Context(), wish); !errors.As(err, &refused) || refused.Reason != "POLICY_DENIED" {
		t.Fatalf("another account's token, on the same connection: %v", err)
	}
}

func TestCheckOfKubernetes(t *testing.T) {
	i := issuertest.Start(t)
	s := clusterSite(t, i)
	s.write("cluster.pem", "nothing")
	s.out = newOutput()
	if code := newApp().Execute(context.Background(), []string{"-config", s.dir + "/broker.yaml", "-check"}, s.out, s.out); code != 1 || !strings.Contains(s.out.String(), "holds no certificate in PEM") {
		t.Fatalf("exit %d:\n%s", code, s.out.String())
	}
	settings, _, _ := strings.Cut(s.read("broker.yaml"), "tls:")
	_, rest, _ := strings.Cut(s.read("broker.yaml"), "client-ca: tls/ca.pem}\n")
	s.write("broker.yaml", settings+rest)
	s.write("cluster.pem", string(i.CA.PEM()))
	if code := newApp().Execute(context.Background(), []string{"-config", s.dir + "/broker.yaml", "-check", "-insecure"}, s.out, s.out); code != 1 || !strings.Contains(s.out.String(), "kubernetes: needs tls") {
		t.Fatalf("exit %d:\n%s", code, s.out.String())
	}
}
