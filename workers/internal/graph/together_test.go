package graph_test

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	sandboxfault "mailporter/sandbox/fault"
	"mailporter/workers/internal/graph"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/providertest"
	"mailporter/workers/internal/slots"
)

// TestReadsAndSendsTogether: a mailbox that is read, folder beside folder, and sent from at the same time has no more requests
// at a time than Exchange allows, and none is refused.
func TestReadsAndSendsTogether(t *testing.T) {
	w := newWorld(t)
	w.Fault(sandboxfault.Rule{Action: sandboxfault.Delay, Delay: 3 * time.Millisecond})
	const messages, each = 40, 6
	for i := range messages {
		w.Deliver(t, "INBOX", fmt.Appendf(nil, "Subject: %d\r\n\r\nx\r\n", i))
	}
	var shared slots.Local
	s := w.sending(t)
	tr := providertest.Open(t, w.World, s, func() (*graph.Transport, error) {
		return graph.NewTransport(graph.TransportConfig{Roots: w.Sandbox.CertPool(), Slots: &shared}, s, w.Client)
	})
	sent, err := graph.NewSentItems(graph.Config{Settings: w.settings(t), Broker: w.Client, Roots: w.Sandbox.CertPool(), Slots: &shared}, "")
	if err != nil {
		t.Fatal(err)
	}
	defer sent.Close()
	var sources []*graph.Source
	for range 2 {
		sources = append(sources, w.sourceFrom(t, graph.Config{Settings: w.settings(t), Folder: "INBOX", Broker: w.Client, Roots: w.Sandbox.CertPool(), Slots: &shared}))
	}
	w.Broker.SetMailboxes(s, w.settings(t)) // both sides of it
	var all sync.WaitGroup
	for _, src := range sources {
		all.Go(func() {
			if n := readAll(t, src); n != messages {
				t.Errorf("%d messages were read, want %d", n, messages)
			}
		})
	}
	for lane := range 4 {
		all.Go(func() {
			for i := range each {
				id := fmt.Sprintf("<%d.%d@test.example>", lane, i)
				if _, err := tr.Send(t.Context(), to(sales), mail.Bytes("Message-ID: "+id+"\r\n\r\nx\r\n")); err != nil {
					t.Error(err)
				}
				if found, err := sent.FindSent(t.Context(), id, time.Time{}); err != nil || !found {
					t.Errorf("%s: %v, %v", id, found, err)
				}
			}
		})
	}
	all.Wait()
	w.noneThrottled(t)
	if n := len(w.Inbox(t, sales)); n != 4*each {
		t.Errorf("%d messages arrived, want %d", n, 4*each)
	}
}

// readAll reads the messages of a folder as a Mover does, and counts them.
func readAll(t *testing.T, src *graph.Source) (n int) {
	t.Helper()
	p, err := src.List(t.Context(), nil, 100)
	if err != nil {
		t.Error(err)
	}
	for _, item := range p.Items {
		r, err := src.Open(t.Context(), item.ID)
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			t.Error(err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		n++
	}
	return n
}

// TestFoldersWithLargeMessages: what one folder has read ahead does not keep the other from its turn, however large it is.
func TestFoldersWithLargeMessages(t *testing.T) {
	w := newWorld(t)
	const messages = 6
	for i := range messages {
		w.Deliver(t, "INBOX", append(fmt.Appendf(nil, "Subject: %d\r\n\r\n", i), bytes.Repeat([]byte("0123456789abcdef\r\n"), 40_000)...))
	}
	var shared slots.Local
	var all sync.WaitGroup
	for range 3 {
		src := w.sourceFrom(t, graph.Config{Settings: w.settings(t), Folder: "INBOX", Broker: w.Client, Roots: w.Sandbox.CertPool(), Slots: &shared})
		all.Go(func() {
			if n := readAll(t, src); n != messages {
				t.Errorf("%d messages were read, want %d", n, messages)
			}
		})
	}
	all.Wait()
	w.noneThrottled(t)
}
