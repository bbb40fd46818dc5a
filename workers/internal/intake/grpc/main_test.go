package grpc_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	googlegrpc "google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"mailporter/kit/certtest"
	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/intake"
	"mailporter/workers/internal/intake/grpc"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/outbound/outboundtest"

	outboxv1 "mailporter/gen/mailporter/outbox/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	support = "Support@contoso.example"
	sales   = "sales@contoso.example"
	ann     = "ann@elsewhere.example"
	letter  = "Subject: x\r\n\r\n.x\r\n"
)

func mailboxes() []tokenclient.Settings {
	return []tokenclient.Settings{
		{Mailbox: support, Outbound: tokenclient.OutboundSettings{SenderAliases: []string{"help@contoso.example"}}},
		{Mailbox: sales, Outbound: tokenclient.OutboundSettings{SenderAliases: []string{"help@contoso.example"}}},
	}
}

// door is a running server.
type door struct {
	address string
	ca      *certtest.CA // nil: plain text
	stop    func()       // tells it to stop and waits until it has
}

// open starts a server in plain text over a new Memory.
func open(t *testing.T, c grpc.Config) (*door, *outboundtest.Memory) {
	t.Helper()
	box := &outboundtest.Memory{}
	return openOver(t, c, box, known()), box
}

func known() *intake.Senders {
	s := &intake.Senders{}
	s.Set(mailboxes())
	return s
}

func openOver(t *testing.T, c grpc.Config, o grpc.Outbox, senders *intake.Senders) *door {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- grpc.New(c, o, senders).Serve(ctx, l) }()
	stopped := false
	d := &door{address: l.Addr().String(), stop: func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("serve: %v", err)
			}
		case <-time.After(time.Minute):
			t.Error("the server does not stop")
		}
	}}
	t.Cleanup(d.stop)
	return d
}

// openTLS is openOver with mutual TLS.
func openTLS(t *testing.T, c grpc.Config, o grpc.Outbox) *door {
	t.Helper()
	ca, err := certtest.NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	c.TLS = &tls.Config{
		Certificates: []tls.Certificate{issue(t, ca, certtest.Options{DNS: []string{"localhost"}})},
		ClientCAs:    ca.Pool(), ClientAuth: tls.RequireAndVerifyClientCert,
	}
	d := openOver(t, c, o, known())
	d.ca = ca
	return d
}

func issue(t *testing.T, ca *certtest.CA, o certtest.Options) tls.Certificate {
	t.Helper()
	pair, err := ca.Issue(o)
	if err != nil {
		t.Fatal(err)
	}
	c, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// as connects with a certificate of that name; without one if it is empty.
func (d *door) as(t *testing.T, name string) *googlegrpc.ClientConn {
	t.Helper()
	creds := insecure.NewCredentials()
	if d.ca != nil {
		conf := &tls.Config{RootCAs: d.ca.Pool(), ServerName: "localhost"}
		if name != "" {
			conf.Certificates = []tls.Certificate{issue(t, d.ca, certtest.Options{CommonName: name})}
		}
		creds = credentials.NewTLS(conf)
	}
	conn, err := googlegrpc.NewClient(d.address, googlegrpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func (d *door) client(t *testing.T, name string) outboxv1.OutboxServiceClient {
	t.Helper()
	return outboxv1.NewOutboxServiceClient(d.as(t, name))
}

// to is a header for these recipients.
func to(request, from string, recipients ...string) *outboxv1.SubmissionHeader {
	h := &outboxv1.SubmissionHeader{RequestId: request, Envelope: &outboxv1.Envelope{Sender: from}}
	for _, r := range recipients {
		h.Envelope.Recipients = append(h.Envelope.Recipients, &outboxv1.Recipient{Address: r})
	}
	return h
}

func head(h *outboxv1.SubmissionHeader) *outboxv1.SubmitRequest {
	return &outboxv1.SubmitRequest{Part: &outboxv1.SubmitRequest_Header{Header: h}}
}

func chunk(b []byte) *outboxv1.SubmitRequest {
	return &outboxv1.SubmitRequest{Part: &outboxv1.SubmitRequest_Chunk{Chunk: b}}
}

// parts are the requests that make up a submission.
func parts(h *outboxv1.SubmissionHeader, message []byte, size int) []*outboxv1.SubmitRequest {
	all := []*outboxv1.SubmitRequest{head(h)}
	for c := range slices.Chunk(message, size) {
		all = append(all, chunk(c))
	}
	return all
}

// send streams requests and ends the stream.
func send(t *testing.T, c outboxv1.OutboxServiceClient, all ...*outboxv1.SubmitRequest) (*outboxv1.SubmitResponse, error) {
	t.Helper()
	stream, err := c.Submit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if err := stream.Send(r); err != nil {
			break // the answer is the server's already
		}
	}
	return stream.CloseAndRecv()
}

func submit(t *testing.T, c outboxv1.OutboxServiceClient, h *outboxv1.SubmissionHeader, message string) *outboxv1.SubmitResponse {
	t.Helper()
	answer, err := send(t, c, parts(h, []byte(message), 64<<10)...)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// jobs claims everything.
func jobs(t *testing.T, o outbound.Outbox) []outbound.Job {
	t.Helper()
	all, err := o.Claim(t.Context(), []string{support, sales}, 999, 999, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func body(t *testing.T, o outbound.Outbox, j outbound.Job) []byte {
	t.Helper()
	r, err := o.Open(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatal(err)
	}
	return b
}

// want checks code and reason, and that there is exactly one ErrorInfo.
func want(t *testing.T, err error, code codes.Code, reason string) (retry bool) {
	t.Helper()
	st, infos := status.Convert(err), 0
	for _, d := range st.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			infos++
			if d.GetReason() != reason || d.GetDomain() != "mailporter" {
				t.Errorf("%s of %s, want %s", d.GetReason(), d.GetDomain(), reason)
			}
		case *errdetails.RetryInfo:
			retry = true
		}
	}
	if st.Code() != code || infos != 1 || retry != (code == codes.Unavailable) {
		t.Errorf("%v with %d ErrorInfos, RetryInfo %v; want %v, %s", err, infos, retry, code, reason)
	}
	return retry
}
