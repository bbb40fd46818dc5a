package grpc_test

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"mailporter/workers/internal/inbound/inboundtest"
	"mailporter/workers/internal/intake"
	"mailporter/workers/internal/intake/grpc"
	"mailporter/workers/internal/intake/intaketest"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/outbound/outboundtest"

	outboxv1 "mailporter/gen/mailporter/outbox/v1"
)

func TestSubmit(t *testing.T) {
	d, box := open(t, grpc.Config{})
	h := to("1", "support@contoso.example", ann, "süd@elsewhere.example", ann)
	h.Envelope.Recipients[0].Notify, h.Envelope.Recipients[0].Original = "success,delay", "rfc822;a+2Bb@c"
	h.Envelope.Ret, h.Envelope.Envid, h.Envelope.Smtputf8, h.Envelope.Body_8BitMime = "hdrs", "QQ+2B1", true, true
	h.SizeBytes = int64(len(letter))
	answer := submit(t, d.client(t, ""), h, letter)
	if answer.GetId() == "" || answer.GetMailbox() != support || answer.GetKnown() {
		t.Errorf("%v", answer)
	}
	all := jobs(t, box)
	if len(all) != 1 || all[0].ID != answer.GetId() || string(body(t, box, all[0])) != letter {
		t.Fatalf("%+v", all)
	}
	want := mail.Envelope{From: "support@contoso.example", Return: "HDRS", ID: "QQ+2B1", EightBit: true, UTF8: true, Recipients: []mail.Recipient{
		{Address: ann, Notify: "SUCCESS,DELAY", Original: "rfc822;a+2Bb@c"}, {Address: "süd@elsewhere.example"},
	}}
	if !reflect.DeepEqual(all[0].Envelope, want) {
		t.Errorf("%+v", all[0].Envelope)
	}
}

// TestAwkward: each awkward message is in the outbox byte for byte, or was refused for its line ends; in both stores, and still
// there when the store is opened again.
func TestAwkward(t *testing.T) {
	for name, store := range intaketest.Outboxes(t) {
		t.Run(name, func(t *testing.T) {
			sent := map[string][]byte{}
			t.Run("submit", func(t *testing.T) { // its cleanups close the store
				d := openOver(t, grpc.Config{}, store(t), known())
				c := d.client(t, "")
				for name, raw := range inboundtest.Awkward() {
					answer, err := send(t, c, parts(to(strings.ReplaceAll(name, " ", "-"), sales, ann), raw, 200_000)...)
					switch {
					case inboundtest.Lone(raw):
						want(t, err, codes.InvalidArgument, "LONE_LINE_END")
					case err != nil:
						t.Errorf("%s: %v", name, err)
					default:
						sent[answer.GetId()] = raw
					}
				}
			})
			o := store(t)
			all := jobs(t, o)
			if len(all) != len(sent) {
				t.Errorf("%d messages, want %d", len(all), len(sent))
			}
			for _, j := range all {
				if got := body(t, o, j); !bytes.Equal(got, sent[j.ID]) {
					t.Errorf("%d bytes %.60q, want %d bytes %.60q", len(got), got, len(sent[j.ID]), sent[j.ID])
				}
			}
		})
	}
}

// TestRequestTwice: the same id of the same caller is one message, after it was sent too, and the first contents win.
func TestRequestTwice(t *testing.T) {
	for name, store := range intaketest.Outboxes(t) {
		t.Run(name, func(t *testing.T) {
			o := store(t)
			d := openTLS(t, grpc.Config{}, o)
			crm, shop := d.client(t, "crm"), d.client(t, "shop")
			first := submit(t, crm, to("once", sales, ann), letter)
			again := submit(t, crm, to("once", sales, "bob@elsewhere.example"), "another one")
			if again.GetId() != first.GetId() || !again.GetKnown() || first.GetKnown() {
				t.Errorf("%v, then %v", first, again)
			}
			if other := submit(t, shop, to("once", sales, ann), letter); other.GetId() == first.GetId() || other.GetKnown() {
				t.Errorf("another caller's is %v", other)
			}
			if elsewhere := submit(t, crm, to("once", support, ann), letter); elsewhere.GetId() == first.GetId() {
				t.Errorf("another mailbox's is %v", elsewhere)
			}
			for _, j := range jobs(t, o) {
				if got := string(body(t, o, j)); got != letter || j.Envelope.Recipients[0].Address != ann {
					t.Errorf("%q for %v", got, j.Envelope.Recipients)
				}
				if err := o.Settle(t.Context(), j, outbound.Verdict{Sent: []string{ann}}); err != nil {
					t.Fatal(err)
				}
			}
			if later := submit(t, crm, to("once", sales, ann), letter); later.GetId() != first.GetId() || !later.GetKnown() {
				t.Errorf("once it was sent: %v", later)
			}
			if left := jobs(t, o); len(left) != 0 {
				t.Errorf("%d messages are sent again", len(left))
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	d, box := open(t, grpc.Config{Rules: intake.Rules{MaxSize: 1000, MaxRecipients: 2, MaxHops: 1}})
	c := d.client(t, "")
	with := func(change func(*outboxv1.SubmissionHeader)) *outboxv1.SubmissionHeader {
		h := to("1", sales, ann)
		change(h)
		return h
	}
	for name, tc := range map[string]struct {
		send   []*outboxv1.SubmitRequest
		code   codes.Code
		reason string
	}{
		"nothing":                  {nil, codes.InvalidArgument, "HEADER_MISSING"},
		"a chunk first":            {[]*outboxv1.SubmitRequest{chunk([]byte("x"))}, codes.InvalidArgument, "HEADER_MISSING"},
		"an empty part":            {[]*outboxv1.SubmitRequest{{}}, codes.InvalidArgument, "HEADER_MISSING"},
		"two headers":              {[]*outboxv1.SubmitRequest{head(to("1", sales, ann)), head(to("1", sales, ann))}, codes.InvalidArgument, "HEADER_TWICE"},
		"no request_id":            {parts(to("", sales, ann), nil, 1), codes.InvalidArgument, "REQUEST_ID_INVALID"},
		"a blank in request_id":    {parts(to("a b", sales, ann), nil, 1), codes.InvalidArgument, "REQUEST_ID_INVALID"},
		"a long request_id":        {parts(to(strings.Repeat("x", 129), sales, ann), nil, 1), codes.InvalidArgument, "REQUEST_ID_INVALID"},
		"no envelope":              {[]*outboxv1.SubmitRequest{head(&outboxv1.SubmissionHeader{RequestId: "1"})}, codes.InvalidArgument, "NO_RECIPIENTS"},
		"no recipients":            {parts(to("1", sales), nil, 1), codes.InvalidArgument, "NO_RECIPIENTS"},
		"no address":               {parts(to("1", sales, "Ann <"+ann+">"), nil, 1), codes.InvalidArgument, "ADDRESS_INVALID"},
		"a command in an address":  {parts(to("1", sales, "a@b>\r\nRCPT TO:<c@d"), nil, 1), codes.InvalidArgument, "ADDRESS_INVALID"},
		"beyond ASCII":             {parts(to("1", sales, "süd@b"), nil, 1), codes.InvalidArgument, "ADDRESS_INVALID"},
		"too many":                 {parts(to("1", sales, "a@x", "b@x", "c@x"), nil, 1), codes.ResourceExhausted, "TOO_MANY_RECIPIENTS"},
		"RET":                      {parts(with(func(h *outboxv1.SubmissionHeader) { h.Envelope.Ret = "SOME" }), nil, 1), codes.InvalidArgument, "ENVELOPE_INVALID"},
		"an unknown sender":        {parts(to("1", "eve@contoso.example", ann), nil, 1), codes.PermissionDenied, "SENDER_UNKNOWN"},
		"no sender":                {parts(to("1", "", ann), nil, 1), codes.InvalidArgument, "SENDER_MISSING"},
		"another mailbox's sender": {parts(with(func(h *outboxv1.SubmissionHeader) { h.Mailbox = support }), nil, 1), codes.PermissionDenied, "SENDER_UNKNOWN"},
		"announced too large":      {parts(with(func(h *outboxv1.SubmissionHeader) { h.SizeBytes = 1001 }), nil, 1), codes.ResourceExhausted, "MESSAGE_TOO_LARGE"},
		"too large":                {parts(to("1", sales, ann), make([]byte, 1001), 100), codes.ResourceExhausted, "MESSAGE_TOO_LARGE"},
		"less than announced":      {parts(with(func(h *outboxv1.SubmissionHeader) { h.SizeBytes = 9 }), []byte("Subject:"), 9), codes.InvalidArgument, "SIZE_DIFFERS"},
		"more than announced":      {parts(with(func(h *outboxv1.SubmissionHeader) { h.SizeBytes = 7 }), []byte("Subject:"), 9), codes.InvalidArgument, "SIZE_DIFFERS"},
		"a chunk of 4 MiB":         {parts(to("1", sales, ann), make([]byte, 4<<20), 4<<20), codes.InvalidArgument, "CHUNK_TOO_LARGE"},
		"a chunk too large":        {parts(to("1", sales, ann), make([]byte, 1<<20+1), 2<<20), codes.InvalidArgument, "CHUNK_TOO_LARGE"},
		"a lone LF":                {parts(to("1", sales, ann), []byte("a\nb"), 1), codes.InvalidArgument, "LONE_LINE_END"},
		"a lone CR at the end":     {parts(to("1", sales, ann), []byte("a\r"), 1), codes.InvalidArgument, "LONE_LINE_END"},
		"in circles":               {parts(to("1", sales, ann), []byte("Received: x\r\nreceived: y\r\n\r\n"), 1), codes.InvalidArgument, "LOOP"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := send(t, c, tc.send...)
			want(t, err, tc.code, tc.reason)
		})
	}
	if all := jobs(t, box); len(all) != 0 {
		t.Errorf("took %d", len(all))
	}
}

// TestPicksTheMailbox: of two that send as an address the named one, and every one sends as nobody.
func TestPicksTheMailbox(t *testing.T) {
	d, _ := open(t, grpc.Config{})
	c := d.client(t, "")
	for i, tc := range []struct{ mailbox, from, want string }{
		{"", "HELP@contoso.example", support}, {"Sales@contoso.example", "help@contoso.example", sales}, {sales, "", sales},
	} {
		h := to(strings.Repeat("x", i+1), tc.from, ann)
		h.Mailbox = tc.mailbox
		if answer := submit(t, c, h, letter); answer.GetMailbox() != tc.want {
			t.Errorf("%+v: %v", tc, answer)
		}
	}
}

func TestNotKnownYet(t *testing.T) {
	d := openOver(t, grpc.Config{}, &outboundtest.Memory{}, &intake.Senders{})
	_, err := send(t, d.client(t, ""), parts(to("1", sales, ann), nil, 1)...)
	want(t, err, codes.Unavailable, "MAILBOXES_UNKNOWN")
}

func TestOutboxFails(t *testing.T) {
	box := &outboundtest.Memory{Before: func(string) error { return errors.New("MARKER of the disk") }}
	d := openOver(t, grpc.Config{}, box, known())
	_, err := send(t, d.client(t, ""), parts(to("1", sales, ann), []byte(letter), 4)...)
	want(t, err, codes.Unavailable, "OUTBOX_UNAVAILABLE")
	if strings.Contains(err.Error(), "MARKER") {
		t.Errorf("the caller sees %v", err)
	}
}

// TestBrokenOff: a call that ends in the middle leaves nothing behind.
func TestBrokenOff(t *testing.T) {
	for name, store := range intaketest.Outboxes(t) {
		t.Run(name, func(t *testing.T) {
			o := store(t)
			d := openOver(t, grpc.Config{}, o, known())
			ctx, cancel := context.WithCancel(t.Context())
			stream, err := d.client(t, "").Submit(ctx)
			if err := errors.Join(err, stream.Send(head(to("1", sales, ann))), stream.Send(chunk([]byte("Subject: x\r\n")))); err != nil {
				t.Fatal(err)
			}
			cancel() // without CloseAndRecv, which could still tell the server that the message is whole
			if err := stream.RecvMsg(&outboxv1.SubmitResponse{}); status.Code(err) != codes.Canceled {
				t.Errorf("%v", err)
			}
			d.stop() // waits for the call
			if all := jobs(t, o); len(all) != 0 {
				t.Errorf("took %d", len(all))
			}
		})
	}
}

func TestSilence(t *testing.T) {
	d, box := open(t, grpc.Config{Idle: 50 * time.Millisecond})
	c := d.client(t, "")
	for name, some := range map[string][]*outboxv1.SubmitRequest{"at once": nil, "after the header": {head(to("1", sales, ann))}, "in the message": {head(to("1", sales, ann)), chunk([]byte("x"))}} {
		stream, err := c.Submit(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range some {
			_ = stream.Send(r) // on a slow machine it may be over already
		}
		if err := stream.RecvMsg(&outboxv1.SubmitResponse{}); status.Code(err) != codes.DeadlineExceeded {
			t.Errorf("%s: %v", name, err)
		}
	}
	if all := jobs(t, box); len(all) != 0 {
		t.Errorf("took %d", len(all))
	}
}

// begun is a submission that the server has seen the header of.
func begun(t *testing.T, c outboxv1.OutboxServiceClient, seen <-chan struct{}) interface {
	Send(*outboxv1.SubmitRequest) error
	CloseAndRecv() (*outboxv1.SubmitResponse, error)
} {
	t.Helper()
	stream, err := c.Submit(t.Context())
	if err := errors.Join(err, stream.Send(head(to("slow", sales, ann)))); err != nil {
		t.Fatal(err)
	}
	select {
	case <-seen:
	case <-time.After(time.Minute):
		t.Fatal("the server does not begin")
	}
	return stream
}

// watched tells when an Add begins.
func watched() (*outboundtest.Memory, <-chan struct{}) {
	adds := make(chan struct{}, 9)
	return &outboundtest.Memory{Before: func(step string) error {
		if step == "add" {
			adds <- struct{}{}
		}
		return nil
	}}, adds
}

func TestBusy(t *testing.T) {
	box, adds := watched()
	d := openOver(t, grpc.Config{MaxSubmissions: 1}, box, known())
	c := d.client(t, "")
	slow := begun(t, c, adds)
	_, err := send(t, c, parts(to("2", sales, ann), nil, 1)...)
	want(t, err, codes.Unavailable, "BUSY")
	if _, err := slow.CloseAndRecv(); err != nil {
		t.Error(err)
	}
}

// TestDrain: what is coming in is taken to its end, and nothing else.
func TestDrain(t *testing.T) {
	box, adds := watched()
	d := openOver(t, grpc.Config{}, box, known())
	slow := begun(t, d.client(t, ""), adds)
	stopped := make(chan struct{})
	go func() { defer close(stopped); d.stop() }()
	if err := slow.Send(chunk([]byte(letter))); err != nil {
		t.Fatal(err)
	}
	select {
	case <-stopped:
		t.Fatal("it did not wait")
	default:
	}
	if answer, err := slow.CloseAndRecv(); err != nil || answer.GetId() == "" {
		t.Errorf("%v, %v", answer, err)
	}
	<-stopped
	if all := jobs(t, box); len(all) != 1 || !slices.Equal(body(t, box, all[0]), []byte(letter)) {
		t.Errorf("%+v", all)
	}
}
