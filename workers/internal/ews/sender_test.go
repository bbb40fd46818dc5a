package ews_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/sandbox/fault"
	"mailporter/workers/internal/ews"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/outbound/outboundtest"
)

// TestSender: an outbox empties into a server that loses answers, breaks down and refuses tokens at each step; nothing is
// lost, and nothing is sent twice.
func TestSender(t *testing.T) {
	w := newOffice(t)
	for _, step := range []string{"create", "send", "find"} {
		for i, r := range []fault.Rule{
			{Action: fault.LoseAnswer}, {Action: fault.Reset}, {Action: fault.RefuseToken}, {Action: fault.Cut, Bytes: 300},
			{Action: fault.Reply, Text: "ErrorInternalServerError"}, {Action: fault.Reply, Status: 504}, {Action: fault.Reply, Text: "ErrorServerBusy", RetryAfter: time.Second},
		} {
			r.Step, r.After, r.Count = step, i, 1
			w.Fault(r)
		}
	}
	box := &outboundtest.Memory{}
	const n = 30
	for i := range n {
		_, err := box.Add(t.Context(), outbound.Submission{Mailbox: support, Envelope: to(sales, office), Body: bytes.NewReader(note(fmt.Sprintf("Message-ID: <%d@x.example>\r\n", i)))})
		if err != nil {
			t.Fatal(err)
		}
	}
	w.empty(t, box)
	// A draft may stay behind whose answer was lost and that was not to be found either.
	w.stand(t, len(w.Holds(t, "Drafts")), n, n)
	distinct := map[string]bool{}
	for _, raw := range w.Inbox(t, office) {
		distinct[string(raw)] = true
	}
	if len(distinct) != n {
		t.Errorf("%d different messages arrived, want %d", len(distinct), n)
	}
}

// empty runs a Sender until nothing is left to send.
func (w *world) empty(t *testing.T, box *outboundtest.Memory) {
	t.Helper()
	settings := w.outgoing(t)
	w.Broker.SetMailboxes(settings)
	s := &outbound.Sender{
		Protocol: "EWS", Outbox: box, Log: slog.New(slog.DiscardHandler), Board: &outbound.Board{},
		Transport: func(s tokenclient.Settings) (outbound.Transport, error) {
			return ews.NewTransport(ews.TransportConfig{Roots: w.Sandbox.CertPool()}, s, w.Client)
		},
	}
	s.Set([]tokenclient.Settings{settings})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	for tick := time.NewTicker(50 * time.Millisecond); ; {
		left, err := box.List(ctx, "", 100)
		if err != nil || ctx.Err() != nil {
			t.Fatalf("%v, %v; left: %+v", err, ctx.Err(), left)
		}
		if len(left) == 0 {
			break
		}
		<-tick.C
	}
	cancel()
	<-done
}
