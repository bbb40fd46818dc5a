package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/base64"
	"net"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
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

// desk is a broker's mailbox and token service with a mailbox in each state.
type desk struct {
	brokerv1.UnimplementedMailboxServiceServer
	brokerv1.UnimplementedTokenServiceServer
	mu   sync.Mutex
	done []string
}

func side(address string, d brokerv1.Direction, s brokerv1.State) *brokerv1.MailboxStatus {
	st := &brokerv1.MailboxStatus{Selector: &brokerv1.Selector{Mailbox: address, Direction: d}, Protocol: brokerv1.Protocol_PROTOCOL_IMAP,
		Grant: "client_credentials", State: s, Credential: "contoso"}
	if d == brokerv1.Direction_DIRECTION_OUTBOUND {
		st.Protocol = brokerv1.Protocol_PROTOCOL_SMTP
	}
	now := time.Now()
	after := func(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(now.Add(d + 30*time.Second)) }
	switch s {
	case brokerv1.State_STATE_FROZEN:
		st.FailureClass, st.Reason, st.Remedy = brokerv1.FailureClass_FAILURE_CLASS_NEEDS_ADMIN, "CLIENT_SECRET_EXPIRED", "Make a new secret."
		st.FailingSinceTime = after(-time.Hour)
	case brokerv1.State_STATE_WAITING, brokerv1.State_STATE_DEGRADED:
		st.FailureClass, st.Reason, st.Remedy = brokerv1.FailureClass_FAILURE_CLASS_TRANSIENT, "PROVIDER_ERROR", "Wait."
		st.NextAttemptTime = after(2 * time.Minute)
	}
	if s != brokerv1.State_STATE_FROZEN && s != brokerv1.State_STATE_WAITING {
		st.ExpireTime = after(42 * time.Minute)
	}
	return st
}

// boxes are in the order of addresses, as the broker has them.
func boxes() []*brokerv1.Mailbox {
	const in, out = brokerv1.Direction_DIRECTION_INBOUND, brokerv1.Direction_DIRECTION_OUTBOUND
	var all []*brokerv1.Mailbox
	for _, box := range []struct {
		address string
		state   brokerv1.State
		due     time.Duration
	}{
		{"away@fabrikam.com", brokerv1.State_STATE_WAITING, 0}, {"info@contoso.com", brokerv1.State_STATE_HEALTHY, 13 * 24 * time.Hour},
		{"news@contoso.com", brokerv1.State_STATE_HEALTHY, 3 * time.Hour}, {"odd@contoso.com", 99, 0}, {"post@contoso.com", brokerv1.State_STATE_DEGRADED, 0},
		{"sales@contoso.com", brokerv1.State_STATE_FROZEN, 0}, {"support@contoso.com", brokerv1.State_STATE_HEALTHY, 90 * 24 * time.Hour},
	} {
		st := side(box.address, in, box.state)
		if box.due > 0 {
			st.ActionDueTime = timestamppb.New(time.Now().Add(box.due + 30*time.Second))
			st.ActionDueReason = "the client secret of contoso ends"
		}
		all = append(all, &brokerv1.Mailbox{Address: box.address, Statuses: []*brokerv1.MailboxStatus{st}})
	}
	last := all[len(all)-1]
	last.Statuses = append(last.Statuses, side(last.GetAddress(), out, brokerv1.State_STATE_UNUSED))
	return all
}

// ListMailboxes has pages of two.
func (d *desk) ListMailboxes(_ context.Context, r *brokerv1.ListMailboxesRequest) (*brokerv1.ListMailboxesResponse, error) {
	first, _ := strconv.Atoi(r.GetPageToken())
	var all []*brokerv1.Mailbox
	for _, b := range boxes() {
		if ok, err := path.Match(cmp.Or(r.GetAddressPattern(), "*"), b.GetAddress()); err == nil && ok {
			all = append(all, b)
		}
	}
	resp := &brokerv1.ListMailboxesResponse{Mailboxes: all[min(first, len(all)):min(first+2, len(all))]}
	if first+2 < len(all) {
		resp.NextPageToken = strconv.Itoa(first + 2)
	}
	return resp, nil
}

// AcquireToken hands out a token that must not be printed.
func (d *desk) AcquireToken(_ context.Context, r *brokerv1.AcquireTokenRequest) (*brokerv1.AcquireTokenResponse, error) {
	if r.GetSelector().GetDirection() == brokerv1.Direction_DIRECTION_OUTBOUND {
		return &brokerv1.AcquireTokenResponse{Credential: &brokerv1.AcquireTokenResponse_Password{Password: &brokerv1.Password{Value: "MARKER"}}}, nil
	}
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	return response(part(`{"alg":"RS256"}`) + "." + part(`{"aud":"https://outlook.office365.com","roles":["IMAP.AccessAsApp"],"exp":1790000000}`) + ".MARKER"), nil
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
	d.note("check " + r.GetSelector().GetDirection().String())
	return &brokerv1.CheckMailboxResponse{Status: side(r.GetSelector().GetMailbox(), r.GetSelector().GetDirection(), brokerv1.State_STATE_HEALTHY)}, nil
}

func (d *desk) ResetMailbox(_ context.Context, r *brokerv1.ResetMailboxRequest) (*brokerv1.ResetMailboxResponse, error) {
	d.note("reset " + r.GetSelector().GetDirection().String())
	return &brokerv1.ResetMailboxResponse{Status: side(r.GetSelector().GetMailbox(), r.GetSelector().GetDirection(), brokerv1.State_STATE_UNUSED)}, nil
}

func (d *desk) note(what string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.done = append(d.done, what)
}

// serve runs a desk behind mutual TLS and returns the flags that reach it.
func serve(t *testing.T) (*desk, []string) {
	t.Helper()
	d, files, stop := open(t.TempDir(), t.Fatal)
	t.Cleanup(stop)
	var flags []string
	for name, value := range files {
		flags = append(flags, "--"+name, value)
	}
	return d, flags
}

// open serves a desk; fail is told what goes wrong. The values are those of the flags that reach it.
func open(dir string, fail func(...any)) (_ *desk, flags map[string]string, stop func()) {
	must := func(err error) {
		if err != nil {
			fail(err)
		}
	}
	ca, err := certtest.NewCA("test")
	must(err)
	pair, err := ca.Issue(certtest.Options{CommonName: "ops", DNS: []string{"localhost"}})
	must(err)
	cert, key, err := pair.WriteFiles(dir, "ops")
	must(err)
	roots, err := ca.WriteFile(dir, "ca.pem")
	must(err)
	own, err := pair.TLS()
	must(err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{own}, ClientCAs: ca.Pool(), ClientAuth: tls.VerifyClientCertIfGiven})))
	d := &desk{}
	brokerv1.RegisterMailboxServiceServer(server, d)
	brokerv1.RegisterTokenServiceServer(server, d)
	go func() { _ = server.Serve(l) }() // ends with Stop
	_, port, err := net.SplitHostPort(l.Addr().String())
	must(err)
	return d, map[string]string{"broker": "localhost:" + port, "certificate": cert, "key": key, "ca": roots}, server.Stop
}

func TestMailboxCommands(t *testing.T) {
	d, flags := serve(t)
	for name, tc := range map[string]struct {
		args []string
		code int
		want []string
		not  string
	}{
		"check":          {[]string{"mailbox", "check", "sales@contoso.com"}, 0, []string{"HEALTHY"}, ""},
		"check one side": {[]string{"mailbox", "check", "support@contoso.com", "--side", "out"}, 0, []string{"out  HEALTHY"}, ", in"},
		"reset":          {[]string{"mailbox", "reset", "sales@contoso.com"}, 0, []string{"UNUSED"}, ""},
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
