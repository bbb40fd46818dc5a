package redis

import (
	"errors"
	"strings"
	"testing"
	"time"

	"mailporter/kit/redistest"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
)

// TestWhatRedisLostHoldsUpNothing: a Redis that evicts has lost one message of a mailbox, claimed or not, and made another
// mailbox's unreadable. All else is sent, listed and counted.
func TestWhatRedisLostHoldsUpNothing(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := openAt(t, server)
	defer s.Close()
	const holes, garbage, whole, ann = "holes@contoso.example", "garbage@contoso.example", "whole@contoso.example", "ann@elsewhere.example"
	box, boxes := s.Outbox(), []string{garbage, holes, whole}
	submit := func(mailbox string) string {
		t.Helper()
		to := []mail.Recipient{{Address: ann}}
		id, err := box.Add(t.Context(), outbound.Submission{Mailbox: mailbox, Envelope: mail.Envelope{From: mailbox, Recipients: to}, Body: strings.NewReader("x")})
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	lose := func(id string) {
		t.Helper()
		if n, err := s.client.Del(t.Context(), boxPrefix(holes)+"job:"+id).Result(); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	bad := submit(garbage)
	if err := s.client.HSet(t.Context(), boxPrefix(garbage)+"job:"+bad, "envelope", "{").Err(); err != nil {
		t.Fatal(err)
	}
	claimed := submit(holes)
	if jobs, err := box.Claim(t.Context(), []string{holes}, 9, 9, time.Millisecond); err != nil || len(jobs) != 1 {
		t.Fatal(jobs, err)
	}
	lose(claimed)
	waiting := submit(holes)
	lose(waiting)
	want := map[string]bool{submit(holes): true, submit(whole): true}
	if all, err := box.Backlogs(t.Context()); err != nil || len(all) != 3 {
		t.Errorf("backlogs: %+v, %v", all, err)
	}
	if all, err := box.List(t.Context(), holes, 9); err != nil || len(all) != 1 || !want[all[0].ID] {
		t.Errorf("list: %+v, %v", all, err)
	}
	if _, err := box.Get(t.Context(), waiting); !errors.Is(err, outbound.ErrNone) {
		t.Errorf("get: %v", err)
	}
	if err := box.Retry(t.Context(), waiting); !errors.Is(err, outbound.ErrNone) {
		t.Errorf("retry: %v", err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for len(want) > 0 && time.Now().Before(deadline) {
		jobs, err := box.Claim(t.Context(), boxes, 9, 9, time.Hour)
		if err != nil && !strings.Contains(err.Error(), garbage) {
			t.Fatal(err)
		}
		for _, j := range jobs {
			delete(want, j.ID)
		}
	}
	if len(want) > 0 {
		t.Errorf("never claimed: %v", want)
	}
	if n := s.client.ZCard(t.Context(), boxPrefix(holes)+"all").Val(); n != 1 {
		t.Errorf("%d are kept of the mailbox that has one", n)
	}
}
