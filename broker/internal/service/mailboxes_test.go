package service

import (
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/remedy"
	"mailporter/kit/certtest"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

func names(set []*brokerv1.MailboxSettings) []string {
	var all []string
	for _, m := range set {
		all = append(all, m.GetSelector().GetMailbox()+" "+m.GetProtocol().String())
	}
	return all
}

func TestWatchMailboxes(t *testing.T) {
	b := newBroker(t)
	stream, err := brokerv1.NewMailboxServiceClient(b.as(worker)).WatchMailboxes(b.ctx(), &brokerv1.WatchMailboxesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	first, err := stream.Recv()
	want := []string{"relay@contoso.com PROTOCOL_SMTP", "Support@contoso.com PROTOCOL_IMAP", "Support@contoso.com PROTOCOL_SMTP"}
	if err != nil || !slices.Equal(names(first.GetMailboxes()), want) {
		t.Fatalf("%v, %v", names(first.GetMailboxes()), err)
	}
	in := first.GetMailboxes()[1]
	if in.GetEndpoint().GetServer() != "outlook.office365.com" || in.GetEndpoint().GetPort() != 993 || in.GetEndpoint().GetSecurity() != brokerv1.Security_SECURITY_TLS ||
		in.GetInbound().GetAfter() != brokerv1.After_AFTER_MOVE || in.GetInbound().GetAfterFolder() != "Done" || in.GetInbound().GetFolders()[0] != "INBOX" ||
		in.GetInbound().GetCycleTime().AsDuration() != time.Minute || in.GetMargin().AsDuration() != 10*time.Second ||
		in.GetEndpoint().GetMechanism() != brokerv1.Mechanism_MECHANISM_XOAUTH2 || in.GetInbound().GetDeliverTo() != "default" {
		t.Errorf("settings %v", in)
	}
	out := first.GetMailboxes()[2]
	if out.GetOutbound().GetPoolSize() != 3 || out.GetOutbound().GetSenderAliases()[0] != "*@contoso.com" || out.GetEndpoint().GetMechanism() != brokerv1.Mechanism_MECHANISM_BASIC {
		t.Errorf("settings %v", out)
	}

	b.write("pass", "MARKER-other") // changes no setting, so nothing is sent for it
	b.server.Directory.Reload()
	b.write("m/a.yaml", strings.Replace(mailboxFile, "grant-type: client_credentials", `grant-type: client_credentials, cycle-time: "00:00:07"`, 1))
	b.server.Directory.Reload()
	second, err := stream.Recv()
	if err != nil || second.GetMailboxes()[1].GetInbound().GetCycleTime().AsDuration() != 7*time.Second {
		t.Fatalf("after the change: %v, %v", second, err)
	}
	if second.GetMailboxes()[1].GetVersion() == in.GetVersion() || second.GetMailboxes()[2].GetVersion() != out.GetVersion() {
		t.Error("versions must change with the settings and only with them")
	}

	b.stop() // draining ends the stream
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Fatalf("while draining: %v", err)
	}
}

func TestWatchFilters(t *testing.T) {
	b := newBroker(t)
	for name, tc := range map[string]struct {
		who  string
		req  *brokerv1.WatchMailboxesRequest
		want int
	}{
		"protocol":      {worker, &brokerv1.WatchMailboxesRequest{Protocol: brokerv1.Protocol_PROTOCOL_IMAP}, 1},
		"direction":     {worker, &brokerv1.WatchMailboxesRequest{Direction: brokerv1.Direction_DIRECTION_OUTBOUND}, 2},
		"no permission": {operator, &brokerv1.WatchMailboxesRequest{}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			stream, err := brokerv1.NewMailboxServiceClient(b.as(tc.who)).WatchMailboxes(b.ctx(), tc.req)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := stream.Recv(); err != nil || len(got.GetMailboxes()) != tc.want {
				t.Fatalf("%v, %v", names(got.GetMailboxes()), err)
			}
		})
	}
}

func TestGetAndListMailboxes(t *testing.T) {
	b := newBroker(t)
	b.keeper.status = keeper.Status{State: keeper.Frozen, Generation: 3, Fault: &remedy.Fault{Class: remedy.NeedsAdmin, Reason: "CLIENT_SECRET_EXPIRED", Remedy: "Renew."},
		Since: time.Unix(1e9, 0)}
	c := brokerv1.NewMailboxServiceClient(b.as(operator))
	got, err := c.GetMailbox(b.ctx(), &brokerv1.GetMailboxRequest{Mailbox: "SUPPORT@contoso.com"})
	if err != nil || len(got.GetMailbox().GetStatuses()) != 2 {
		t.Fatalf("%v, %v", got, err)
	}
	in, out := got.GetMailbox().GetStatuses()[0], got.GetMailbox().GetStatuses()[1]
	if in.GetState() != brokerv1.State_STATE_FROZEN || in.GetReason() != "CLIENT_SECRET_EXPIRED" || in.GetFailureClass() != brokerv1.FailureClass_FAILURE_CLASS_NEEDS_ADMIN ||
		in.GetCredential() == "" || in.GetExpireTime() != nil || in.GetFailingSinceTime().AsTime().Unix() != 1e9 {
		t.Errorf("status %v", in)
	}
	if out.GetState() != brokerv1.State_STATE_HEALTHY || out.GetGrant() != "basic" {
		t.Errorf("status %v", out)
	}

	var pages [][]string
	req := &brokerv1.ListMailboxesRequest{PageSize: 2}
	for {
		resp, err := c.ListMailboxes(b.ctx(), req)
		if err != nil {
			t.Fatal(err)
		}
		var page []string
		for _, m := range resp.GetMailboxes() {
			page = append(page, m.GetAddress())
		}
		pages = append(pages, page)
		if req.PageToken = resp.GetNextPageToken(); req.PageToken == "" {
			break
		}
	}
	if len(pages) != 2 || !slices.Equal(pages[0], []string{"relay@contoso.com", "secret@fabrikam.com"}) || !slices.Equal(pages[1], []string{"Support@contoso.com"}) {
		t.Fatalf("pages %v", pages)
	}
	for name, tc := range map[string]struct {
		req  *brokerv1.ListMailboxesRequest
		want int
	}{
		"pattern": {&brokerv1.ListMailboxesRequest{AddressPattern: "*@CONTOSO.com"}, 2},
		"state":   {&brokerv1.ListMailboxesRequest{States: []brokerv1.State{brokerv1.State_STATE_FROZEN}}, 2},
		"nothing": {&brokerv1.ListMailboxesRequest{AddressPattern: "x*"}, 0},
	} {
		if resp, err := c.ListMailboxes(b.ctx(), tc.req); err != nil || len(resp.GetMailboxes()) != tc.want {
			t.Errorf("%s: %d, %v", name, len(resp.GetMailboxes()), err)
		}
	}
	_, err = c.ListMailboxes(b.ctx(), &brokerv1.ListMailboxesRequest{PageToken: "?"})
	details(t, err, codes.InvalidArgument, "PAGE_INVALID")
	if resp, err := brokerv1.NewMailboxServiceClient(b.as(worker)).ListMailboxes(b.ctx(), &brokerv1.ListMailboxesRequest{}); err != nil || len(resp.GetMailboxes()) != 2 {
		t.Fatalf("the worker sees %v, %v", resp, err)
	}
}

func TestCallersWithoutACertificate(t *testing.T) {
	b := newBroker(t)
	req := &brokerv1.AcquireTokenRequest{Selector: inbound("support@contoso.com")}
	if _, err := brokerv1.NewTokenServiceClient(b.connect()).AcquireToken(b.ctx(), req); status.Code(err) != codes.Unavailable {
		t.Fatalf("no certificate: %v", err)
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
	if _, err := brokerv1.NewTokenServiceClient(b.connect(cert)).AcquireToken(b.ctx(), req); status.Code(err) != codes.Unavailable {
		t.Fatalf("another authority's certificate: %v", err)
	}
	nobody := brokerv1.NewTokenServiceClient(b.connect(b.certificate(certtest.Options{})))
	_, err = nobody.AcquireToken(b.ctx(), req)
	details(t, err, codes.Unauthenticated, "CALLER_NOT_AUTHENTICATED")
	if e := b.audit.last(t); e.Decision != "deny" || e.Reason != "CALLER_NOT_AUTHENTICATED" || e.Method != "AcquireToken" || e.Identity != "" || e.Peer == "" {
		t.Fatalf("audit %+v", e)
	}
}

func TestIdentity(t *testing.T) {
	b := newBroker(t)
	for name, tc := range map[string]struct {
		o    certtest.Options
		want string
	}{
		"SPIFFE first": {certtest.Options{CommonName: "cn", DNS: []string{"dns.example"}, URI: worker}, worker},
		"DNS second":   {certtest.Options{CommonName: "cn", DNS: []string{"dns.example"}}, "dns.example"},
		"other URI":    {certtest.Options{CommonName: "cn", URI: "https://x.example/"}, "cn"},
		"common name":  {certtest.Options{CommonName: "cn"}, "cn"},
	} {
		t.Run(name, func(t *testing.T) {
			c := brokerv1.NewMailboxServiceClient(b.connect(b.certificate(tc.o)))
			if _, err := c.GetMailbox(b.ctx(), &brokerv1.GetMailboxRequest{Mailbox: "x@y.z"}); status.Code(err) != codes.PermissionDenied {
				t.Fatal(err)
			}
			if e := b.audit.last(t); e.Identity != tc.want {
				t.Fatalf("identity %q, want %q", e.Identity, tc.want)
			}
		})
	}
}

func TestHealthAndReflection(t *testing.T) {
	b := newBroker(t)
	conn := b.as(worker)
	h, err := healthv1.NewHealthClient(conn).Check(b.ctx(), &healthv1.HealthCheckRequest{})
	if err != nil || h.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.Fatalf("%v, %v", h, err)
	}
	stream, err := reflectionv1.NewServerReflectionClient(conn).ServerReflectionInfo(b.ctx())
	if err == nil {
		err = stream.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}})
	}
	if err != nil {
		t.Fatal(err)
	}
	resp, err := stream.Recv() // the caller is on this machine
	if err != nil || !strings.Contains(resp.String(), "mailporter.broker.v1.TokenService") {
		t.Fatalf("%v, %v", resp, err)
	}
}

func TestPanicsAreContained(t *testing.T) {
	b := newBroker(t)
	b.keeper.ask = nil
	c := brokerv1.NewTokenServiceClient(b.as(worker))
	_, err := c.AcquireToken(b.ctx(), &brokerv1.AcquireTokenRequest{Selector: inbound("support@contoso.com")})
	details(t, err, codes.Internal, "INTERNAL")
	if !strings.Contains(b.log.String(), "panic in a call") {
		t.Fatal("not in the log")
	}
}

func TestPlainTextIsForLoopbackOnly(t *testing.T) {
	b := newBroker(t)
	c := b.server.Config
	c.TLS = nil
	s := &Server{Config: c}
	if err := s.Serve(b.ctx(), elsewhere{}, time.Second); err == nil || !strings.Contains(err.Error(), "loopback only") {
		t.Fatal(err)
	}
}

// elsewhere is a listener that the network can reach.
type elsewhere struct{ net.Listener }

func (elsewhere) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }
