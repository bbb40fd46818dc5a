package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"mailporter/kit/redistest"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
)

func letter(mailbox, request string) outbound.Submission {
	return outbound.Submission{Mailbox: mailbox, Request: request, Body: strings.NewReader("Subject: x\r\n\r\nx\r\n"),
		Envelope: mail.Envelope{From: mailbox, Recipients: []mail.Recipient{{Address: "b@x.example"}}}}
}

func mustAdd(t *testing.T, s *Store, m outbound.Submission) string {
	t.Helper()
	id, err := s.Outbox().Add(t.Context(), m)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// TestOnceThoughKilled: submitters who try again until they hear yes, with the same request, get one message each, however
// often the server dies under them.
func TestOnceThoughKilled(t *testing.T) {
	server := redistest.Start(t)
	s := openAt(t, server)
	defer s.Close()
	const submitters, each = 8, 20
	steps := make(chan struct{}, submitters*each)
	var all sync.WaitGroup
	for who := range submitters {
		all.Go(func() {
			for i := range each {
				insist(t.Context(), s, fmt.Sprintf("%d-%d", who, i))
				steps <- struct{}{}
			}
		})
	}
	for range 4 {
		for range submitters * each / 5 {
			<-steps
		}
		server.Kill()
		server.Restart()
	}
	all.Wait()
	jobs, err := s.Outbox().List(t.Context(), "", 2*submitters*each)
	if err != nil || len(jobs) != submitters*each {
		t.Fatalf("%d messages, want %d; %v", len(jobs), submitters*each, err)
	}
}

func insist(ctx context.Context, s *Store, request string) {
	for ctx.Err() == nil {
		if _, err := s.Outbox().Add(ctx, letter("a@x.example", request)); err == nil {
			return
		}
	}
}

// TestServerAway: everything says so quickly, and as something that may get better.
func TestServerAway(t *testing.T) {
	server := redistest.Start(t)
	s := openAt(t, server)
	defer s.Close()
	folder := mail.Folder{Mailbox: "a", Name: "INBOX"}
	l, err := s.Checkpoints().Lease(t.Context(), folder, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	mustAdd(t, s, letter("a", ""))
	jobs, err := s.Outbox().Claim(t.Context(), []string{"a"}, 1, 1, time.Hour)
	if err != nil || len(jobs) != 1 {
		t.Fatal(jobs, err)
	}
	server.Kill()
	for name, do := range map[string]func() error{
		"ping":   s.Ping,
		"lease":  func() error { _, err := s.Checkpoints().Lease(t.Context(), folder, time.Hour); return err },
		"save":   func() error { return l.Save(t.Context(), inbound.Cursor("c")) },
		"renew":  func() error { return l.Renew(t.Context()) },
		"note":   func() error { return s.Quarantine().Note(t.Context(), inbound.Quarantined{Folder: folder}) },
		"has":    func() error { _, err := s.Quarantine().Has(t.Context(), folder, "k"); return err },
		"add":    func() error { _, err := s.Outbox().Add(t.Context(), letter("a", "")); return err },
		"claim":  func() error { _, err := s.Outbox().Claim(t.Context(), []string{"a"}, 9, 9, time.Hour); return err },
		"open":   func() error { _, err := s.Outbox().Open(t.Context(), jobs[0]); return err },
		"extend": func() error { return s.Outbox().Extend(t.Context(), jobs[0], time.Hour) },
		"settle": func() error {
			return s.Outbox().Settle(t.Context(), jobs[0], outbound.Verdict{Sent: []string{"b@x.example"}})
		},
		"next": func() error { _, err := s.Outbox().Next(t.Context(), []string{"a"}); return err },
		"list": func() error { _, err := s.Outbox().List(t.Context(), "", 9); return err },
	} {
		err := do()
		if err == nil || fault.Of(err) != fault.Temporary || errors.Is(err, inbound.ErrLost) || errors.Is(err, inbound.ErrLeased) || errors.Is(err, outbound.ErrLost) {
			t.Errorf("%s: %v", name, err)
		}
	}
	server.Restart()
	found(t, s)
	if err := l.Save(t.Context(), inbound.Cursor("c")); err != nil {
		t.Errorf("save after the restart: %v", err)
	}
	if err := s.Outbox().Settle(t.Context(), jobs[0], outbound.Verdict{Sent: []string{"b@x.example"}}); err != nil {
		t.Errorf("settle after the restart: %v", err)
	}
}

// found waits until the store reaches its server again: a client whose every connection failed looks once a second.
func found(t *testing.T, s *Store) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); s.Ping() != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the server is back, and the store does not find it")
		}
	}
}

// TestStartsWithoutServer: a worker that comes up before its Redis does waits for it.
func TestStartsWithoutServer(t *testing.T) {
	server := redistest.Start(t)
	server.Kill()
	var log strings.Builder
	s, err := Open(t.Context(), Config{URL: server.URL()}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if !strings.Contains(log.String(), "redis does not answer yet") {
		t.Errorf("log: %s", log.String())
	}
	server.Restart()
	mustAdd(t, s, letter("a", ""))
}

// TestLostBytes: a message whose chunks are not all there is refused, and its request may be made again.
func TestLostBytes(t *testing.T) {
	s := openAt(t, redistest.Start(t))
	defer s.Close()
	m := letter("a", "r")
	o := outbox{s}
	if _, err := o.addJob(t.Context(), m, newID(m.Mailbox), 17, 1); !errors.Is(err, errHoles) {
		t.Fatalf("added without its bytes: %v", err)
	}
	mustAdd(t, s, m)
	all, err := s.Outbox().List(t.Context(), "a", 9)
	if err != nil || len(all) != 1 {
		t.Fatal(all, err)
	}
}

func TestRefusedForGood(t *testing.T) {
	s := openAt(t, redistest.Start(t))
	defer s.Close()
	nobody, endless := letter("a", ""), letter("a", "")
	nobody.Envelope.Recipients = nil
	endless.Body = zeros{}
	for name, m := range map[string]outbound.Submission{"no recipients": nobody, "too big": endless} {
		if _, err := s.Outbox().Add(t.Context(), m); fault.Of(err) != fault.Permanent {
			t.Errorf("%s: %v", name, err)
		}
	}
	if keys := s.client.Keys(t.Context(), prefix+"*").Val(); len(keys) != 0 {
		t.Errorf("left behind: %v", keys)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// TestManyMailboxes: a worker asks for a thousand mailboxes at once; those whose mail waits longest go first.
func TestManyMailboxes(t *testing.T) {
	s := openAt(t, redistest.Start(t))
	defer s.Close()
	var boxes, want []string
	for i := range 1000 {
		boxes = append(boxes, fmt.Sprintf("%d@x.example", i))
	}
	for _, i := range []int{700, 3, 999} {
		want = append(want, mustAdd(t, s, letter(boxes[i], "")))
	}
	jobs, err := s.Outbox().Claim(t.Context(), boxes, 3, 9, time.Hour)
	if err != nil || len(jobs) != 3 {
		t.Fatal(jobs, err)
	}
	for i, j := range jobs {
		if j.ID != want[i] {
			t.Errorf("job %d is %s, want %s", i, j.ID, want[i])
		}
	}
}
