package grpc_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"mailporter/workers/internal/intake"
	"mailporter/workers/internal/intake/grpc"
	"mailporter/workers/internal/intake/intaketest"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/outbound/outboundtest"

	outboxv1 "mailporter/gen/mailporter/outbox/v1"
)

// TestGetSubmission follows a message through its states, to the end and beyond.
func TestGetSubmission(t *testing.T) {
	for name, store := range intaketest.Outboxes(t) {
		t.Run(name, func(t *testing.T) {
			const bob = "bob@elsewhere.example"
			o := store(t)
			c := openOver(t, grpc.Config{}, o, known()).client(t, "")
			id := submit(t, c, to("1", sales, ann, bob), letter).GetId()
			look := func(step, wantAnn, wantBob string) *outboxv1.Submission {
				t.Helper()
				answer, err := c.GetSubmission(t.Context(), &outboxv1.GetSubmissionRequest{Id: id})
				if err != nil {
					t.Fatalf("%s: %v", step, err)
				}
				m := answer.GetSubmission()
				got := m.GetRecipients()
				if got[0].GetAddress() != ann || got[0].GetState().String() != "RECIPIENT_STATE_"+wantAnn || got[1].GetState().String() != "RECIPIENT_STATE_"+wantBob {
					t.Errorf("%s: %v", step, m)
				}
				return m
			}
			m := look("taken", "QUEUED", "QUEUED")
			if m.GetMailbox() != sales || m.GetSender() != sales || m.GetSizeBytes() != int64(len(letter)) || m.GetAcceptTime() == nil || m.GetNextAttemptTime() == nil {
				t.Errorf("%v", m)
			}
			j := jobs(t, o)[0]
			if m = look("claimed", "SENDING", "SENDING"); m.GetNextAttemptTime() != nil {
				t.Errorf("%v", m)
			}
			settle := func(j outbound.Job, v outbound.Verdict) {
				t.Helper()
				if err := o.Settle(t.Context(), j, v); err != nil {
					t.Fatal(err)
				}
			}
			settle(j, outbound.Verdict{Sent: []string{ann}, Later: []outbound.Failure{{Address: bob, Reason: "451 \xff"}}, At: time.Now().Add(time.Hour)})
			if m = look("tried", "SENT", "DEFERRED"); !strings.HasPrefix(m.GetRecipients()[1].GetReason(), "451 ") || m.GetAttempts() != 1 || m.GetNextAttemptTime() == nil {
				t.Errorf("%v", m)
			}
			if err := o.Retry(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			settle(jobs(t, o)[0], outbound.Verdict{Dead: []outbound.Failure{{Address: bob, Reason: "550 no"}}})
			if m = look("refused", "SENT", "DEAD"); m.GetNextAttemptTime() != nil {
				t.Errorf("%v", m)
			}
			if err := o.Retry(t.Context(), id); err != nil {
				t.Fatal(err)
			}
			settle(jobs(t, o)[0], outbound.Verdict{Sent: []string{bob}})
			look("sent", "SENT", "SENT")
			_, err := c.GetSubmission(t.Context(), &outboxv1.GetSubmissionRequest{Id: id + "0"})
			want(t, err, codes.NotFound, "SUBMISSION_UNKNOWN")
		})
	}
}

// TestClients: a caller submits as whom he may, and sees of the outbox what he may have submitted.
func TestClients(t *testing.T) {
	box := &outboundtest.Memory{}
	d := openTLS(t, grpc.Config{Clients: intake.Clients{{Name: "crm", Senders: []string{sales}}, {Name: "root"}}}, box)
	crm, root, eve := d.client(t, "crm"), d.client(t, "root"), d.client(t, "eve")
	_, err := send(t, eve, parts(to("1", sales, ann), nil, 1)...)
	want(t, err, codes.PermissionDenied, "CALLER_FORBIDDEN")
	_, err = send(t, crm, parts(to("1", support, ann), nil, 1)...)
	want(t, err, codes.PermissionDenied, "SENDER_FORBIDDEN")
	mine := submit(t, crm, to("1", sales, ann), letter).GetId()
	other := submit(t, root, to("1", support, ann), letter).GetId()
	see := func(c outboxv1.OutboxServiceClient, id string) codes.Code {
		_, err := c.GetSubmission(t.Context(), &outboxv1.GetSubmissionRequest{Id: id})
		return status.Code(err)
	}
	if see(crm, mine) != codes.OK || see(crm, other) != codes.NotFound || see(root, mine) != codes.OK || see(eve, mine) != codes.PermissionDenied {
		t.Error("what is seen is not what may be")
	}
	if _, err := d.client(t, "").GetSubmission(t.Context(), &outboxv1.GetSubmissionRequest{Id: mine}); status.Code(err) != codes.Unavailable {
		t.Errorf("without a certificate: %v", err)
	}
}

func TestListSubmissions(t *testing.T) {
	d := openTLS(t, grpc.Config{Clients: intake.Clients{{Name: "crm", Senders: []string{"*@none.example", sales}}, {Name: "root"}}}, &outboundtest.Memory{})
	crm, root := d.client(t, "crm"), d.client(t, "root")
	for i := range 40 {
		from := support
		if i%10 == 9 {
			from = sales
		}
		submit(t, root, to(fmt.Sprint(i), from, ann), letter)
	}
	for name, tc := range map[string]struct {
		c       outboxv1.OutboxServiceClient
		mailbox string
		most    int32
		n       int
		more    bool
	}{
		"all":            {root, "", 0, 40, false},
		"some":           {root, "", 39, 39, true},
		"just all":       {root, "", 40, 40, false},
		"of a mailbox":   {root, "SALES@contoso.example", 0, 4, false},
		"of nobody":      {root, "eve@contoso.example", 0, 0, false},
		"his own":        {crm, "", 3, 3, true},
		"all of his own": {crm, "", 4, 4, false},
		"another's":      {crm, support, 4, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			answer, err := tc.c.ListSubmissions(t.Context(), &outboxv1.ListSubmissionsRequest{Mailbox: tc.mailbox, Max: tc.most})
			if err != nil || len(answer.GetSubmissions()) != tc.n || answer.GetMore() != tc.more {
				t.Errorf("%d, more: %v, %v", len(answer.GetSubmissions()), answer.GetMore(), err)
			}
		})
	}
	for _, most := range []int32{-1, 1001} {
		_, err := root.ListSubmissions(t.Context(), &outboxv1.ListSubmissionsRequest{Max: most})
		want(t, err, codes.InvalidArgument, "MAX_INVALID")
	}
}

// TestTools: what grpcurl and load balancers ask for.
func TestTools(t *testing.T) {
	d, _ := open(t, grpc.Config{})
	conn := d.as(t, "")
	for _, service := range []string{"", "mailporter.outbox.v1.OutboxService"} {
		answer, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{Service: service})
		if err != nil || answer.GetStatus() != healthv1.HealthCheckResponse_SERVING {
			t.Errorf("health of %q: %v, %v", service, answer, err)
		}
	}
	stream, err := reflectionv1.NewServerReflectionClient(conn).ServerReflectionInfo(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_ListServices{}}); err != nil {
		t.Fatal(err)
	}
	if answer, err := stream.Recv(); err != nil || len(answer.GetListServicesResponse().GetService()) < 3 {
		t.Errorf("%v, %v", answer, err)
	}
	d.stop() // though the stream is open
}

type elsewhere struct{ net.Listener }

// Addr implements net.Listener.
func (elsewhere) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1} }

func TestPlainTextIsForLoopbackOnly(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := grpc.New(grpc.Config{}, &outboundtest.Memory{}, known()).Serve(t.Context(), elsewhere{l}); err == nil {
		t.Error("it serves")
	}
}
