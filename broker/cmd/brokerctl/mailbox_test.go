package main

import (
	"context"
	"crypto/tls"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"mailporter/kit/certtest"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

// desk is a broker's mailbox service with two mailboxes: one that fares well, and one whose secret ended.
type desk struct {
	brokerv1.UnimplementedMailboxServiceServer
	done []string
}

func side(address string, d brokerv1.Direction, s brokerv1.State) *brokerv1.MailboxStatus {
	st := &brokerv1.MailboxStatus{Selector: &brokerv1.Selector{Mailbox: address, Direction: d}, Protocol: brokerv1.Protocol_PROTOCOL_IMAP,
		Grant: "client_credentials", State: s, Credential: "contoso"}
	if d == brokerv1.Direction_DIRECTION_OUTBOUND {
		st.Protocol = brokerv1.Protocol_PROTOCOL_SMTP
	}
	if s == brokerv1.State_STATE_FROZEN {
		st.FailureClass, st.Reason, st.Remedy = brokerv1.FailureClass_FAILURE_CLASS_NEEDS_ADMIN, "CLIENT_SECRET_EXPIRED", "Make a new secret."
		st.FailingSinceTime = timestamppb.New(time.Now().Add(-time.Hour))
	} else {
		st.ExpireTime = timestamppb.New(time.Now().Add(42*time.Minute + 30*time.Second))
	}
	return st
}

func boxes() []*brokerv1.Mailbox {
	const in, out = brokerv1.Direction_DIRECTION_INBOUND, brokerv1.Direction_DIRECTION_OUTBOUND
	return []*brokerv1.Mailbox{
		{Address: "sales@contoso.com", Statuses: []*brokerv1.MailboxStatus{side("sales@contoso.com", in, brokerv1.State_STATE_FROZEN)}},
		{Address: "support@contoso.com", Statuses: []*brokerv1.MailboxStatus{
			side("support@contoso.com", in, brokerv1.State_STATE_HEALTHY), side("support@contoso.com", out, brokerv1.State_STATE_UNUSED)}},
	}
}

func (d *desk) ListMailboxes(_ context.Context, r *brokerv1.ListMailboxesRequest) (*brokerv1.ListMailboxesResponse, error) {
	if r.GetPageToken() == "" {
		return &brokerv1.ListMailboxesResponse{Mailboxes: boxes()[:1], NextPageToken: "2"}, nil
	}
	return &brokerv1.ListMailboxesResponse{Mailboxes: boxes()[1:]}, nil
}

func (d *desk) GetMailbox(_ context.Context, r *brokerv1.GetMailboxRequest) (*brokerv1.GetMailboxResponse, error) {
	for _, b := range boxes() {
		if b.GetAddress() == r.GetMailbox() {
			return &brokerv1.GetMailboxResponse{Mailbox: b}, nil
		}
	}
	st, err := status.New(codes.PermissionDenied, "no such mailbox").WithDetails(&errdetails.ErrorInfo{Domain: "mailporter", Reason: "POLICY_DENIED",
		Metadata: map[string]string{"remedy": "look at the policy"}})
	if err != nil {
		return nil, err
	}
	return nil, st.Err()
}

func (d *desk) CheckMailbox(_ context.Context, r *brokerv1.CheckMailboxRequest) (*brokerv1.CheckMailboxResponse, error) {
	d.done = append(d.done, "check "+r.GetSelector().GetDirection().String())
	return &brokerv1.CheckMailboxResponse{Status: side(r.GetSelector().GetMailbox(), r.GetSelector().GetDirection(), brokerv1.State_STATE_HEALTHY)}, nil
}

func (d *desk) ResetMailbox(_ context.Context, r *brokerv1.ResetMailboxRequest) (*brokerv1.ResetMailboxResponse, error) {
	d.done = append(d.done, "reset "+r.GetSelector().GetDirection().String())
	return &brokerv1.ResetMailboxResponse{Status: side(r.GetSelector().GetMailbox(), r.GetSelector().GetDirection(), brokerv1.State_STATE_UNUSED)}, nil
}

// serve runs a desk behind mutual TLS and returns the flags that reach it.
func serve(t *testing.T) (*desk, []string) {
	t.Helper()
	ca, err := certtest.NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	pair, err := ca.Issue(certtest.Options{CommonName: "ops", DNS: []string{"localhost"}})
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := pair.WriteFiles(dir, "ops")
	if err != nil {
		t.Fatal(err)
	}
	roots, err := ca.WriteFile(dir, "ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	own, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{own}, ClientCAs: ca.Pool(), ClientAuth: tls.RequireAndVerifyClientCert})))
	d := &desk{}
	brokerv1.RegisterMailboxServiceServer(server, d)
	go func() { _ = server.Serve(l) }() // ends with Stop
	t.Cleanup(server.Stop)
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return d, []string{"--broker", "localhost:" + port, "--certificate", cert, "--key", key, "--ca", roots}
}

func TestMailboxCommands(t *testing.T) {
	d, flags := serve(t)
	for name, tc := range map[string]struct {
		args []string
		code int
		want []string
		not  string
	}{
		"list":            {[]string{"mailbox", "list"}, 0, []string{"MAILBOX", "sales@contoso.com    in    IMAP", "frozen   CLIENT_SECRET_EXPIRED", "support@contoso.com  out   SMTP", "in 42m"}, ""},
		"list by state":   {[]string{"mailbox", "list", "--state", "frozen"}, 0, []string{"sales@contoso.com"}, "support@"},
		"list as JSON":    {[]string{"mailbox", "list", "-o", "json"}, 0, []string{`"state": "STATE_FROZEN"`, `"reason": "CLIENT_SECRET_EXPIRED"`}, "MAILBOX"},
		"healthy":         {[]string{"mailbox", "status", "support@contoso.com"}, 0, []string{"support@contoso.com, in  HEALTHY", "support@contoso.com, out  UNUSED", "credential"}, "remedy"},
		"frozen":          {[]string{"mailbox", "status", "sales@contoso.com"}, 1, []string{"FROZEN", "remedy", "Make a new secret.", "NEEDS-ADMIN", "1h0m0s ago", "something is wrong"}, ""},
		"frozen as JSON":  {[]string{"mailbox", "status", "sales@contoso.com", "-o", "json"}, 1, []string{`"remedy": "Make a new secret."`}, "FROZEN "},
		"unknown":         {[]string{"mailbox", "status", "nobody@contoso.com"}, 1, []string{"PermissionDenied: no such mailbox; look at the policy"}, ""},
		"check":           {[]string{"mailbox", "check", "sales@contoso.com"}, 0, []string{"HEALTHY"}, ""},
		"check one side":  {[]string{"mailbox", "check", "support@contoso.com", "--side", "out"}, 0, []string{"out  HEALTHY"}, ", in"},
		"no such side":    {[]string{"mailbox", "check", "sales@contoso.com", "--side", "out"}, 1, []string{"sales@contoso.com has no side out"}, ""},
		"reset":           {[]string{"mailbox", "reset", "sales@contoso.com"}, 0, []string{"UNUSED"}, ""},
		"wrong side":      {[]string{"mailbox", "reset", "sales@contoso.com", "--side", "up"}, 2, []string{"use in or out"}, ""},
		"wrong state":     {[]string{"mailbox", "list", "--state", "ill"}, 2, []string{"use one of: degraded, frozen, healthy, unused, waiting"}, ""},
		"wrong output":    {[]string{"mailbox", "list", "-o", "xml"}, 2, []string{"use table or json"}, ""},
		"no address":      {[]string{"mailbox", "status"}, 2, []string{"accepts 1 arg"}, ""},
		"unknown command": {[]string{"mailbox", "lst"}, 2, []string{"unknown command"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			code, out := brokerctl(append(tc.args, flags...)...)
			if code != tc.code || tc.not != "" && strings.Contains(out, tc.not) {
				t.Errorf("exit %d, want %d, without %q:\n%s", code, tc.code, tc.not, out)
			}
			for _, want := range tc.want {
				if !strings.Contains(out, want) {
					t.Errorf("no %q in\n%s", want, out)
				}
			}
		})
	}
	if got := strings.Join(d.done, ","); !strings.Contains(got, "check DIRECTION_INBOUND") || !strings.Contains(got, "check DIRECTION_OUTBOUND") ||
		!strings.Contains(got, "reset DIRECTION_INBOUND") || len(d.done) != 3 {
		t.Errorf("done: %s", got)
	}
}

func TestNoCertificate(t *testing.T) {
	for _, name := range []string{"MAILPORTER_CERTIFICATE", "MAILPORTER_KEY", "MAILPORTER_CA"} {
		t.Setenv(name, "")
	}
	if code, out := brokerctl("mailbox", "list"); code != 2 || !strings.Contains(out, "is missing: name a PEM file") {
		t.Fatalf("exit %d: %s", code, out)
	}
	none := filepath.Join(t.TempDir(), "none.pem")
	if code, out := brokerctl("mailbox", "list", "--certificate", none, "--key", none, "--ca", none); code != 1 || !strings.Contains(out, none) {
		t.Fatalf("exit %d: %s", code, out)
	}
}
