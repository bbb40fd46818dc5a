package redis

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"mailporter/kit/redistest"
	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
)

// fill gives Redis more to remember than it may.
func (s *Store) fill(t *testing.T) {
	t.Helper()
	for size := 64 << 10; size > 0; size /= 8 {
		var err error
		for err == nil {
			err = s.client.RPush(t.Context(), "ballast", strings.Repeat("x", size)).Err()
		}
		if !strings.HasPrefix(err.Error(), "OOM ") {
			t.Fatal(err)
		}
	}
}

// TestAFullRedisEmptiesItself: what is full of mail must still let it be sent, or it would stay full. New mail is refused.
func TestAFullRedisEmptiesItself(t *testing.T) {
	t.Parallel()
	s := openAt(t, redistest.Start(t, "--maxmemory", "16mb", "--maxmemory-policy", "noeviction"))
	defer s.Close()
	const mailbox, ann = "support@contoso.example", "ann@elsewhere.example"
	box, ledger, limits := s.Outbox(), s.Ledger(), []tokenclient.Limit{{Unit: tokenclient.Messages, Most: 30, Window: time.Minute}}
	letter := func() outbound.Submission {
		return outbound.Submission{
			Mailbox: mailbox, Envelope: mail.Envelope{From: mailbox, Recipients: []mail.Recipient{{Address: ann}}}, Body: strings.NewReader("Subject: x\r\n\r\n"),
		}
	}
	first, err := box.Add(t.Context(), letter())
	if err != nil {
		t.Fatal(err)
	}
	second, err := box.Add(t.Context(), letter())
	if err != nil {
		t.Fatal(err)
	}
	s.fill(t)
	if _, err := box.Add(t.Context(), letter()); err == nil {
		t.Error("a full store took a message")
	}
	jobs, err := box.Claim(t.Context(), []string{mailbox}, 9, 1, time.Second)
	if err != nil || len(jobs) != 1 || jobs[0].ID != first {
		t.Fatalf("claim: %v, %v", jobs, err)
	}
	if err := box.Extend(t.Context(), jobs[0], time.Hour); err != nil {
		t.Errorf("extend: %v", err)
	}
	w, err := ledger.Book(t.Context(), mailbox, limits, outbound.Cost{Recipients: 1})
	if err != nil || !w.Until.IsZero() {
		t.Errorf("book: %+v, %v", w, err)
	}
	if err := ledger.Unbook(t.Context(), mailbox, limits, outbound.Cost{Recipients: 1}, w.Booked); err != nil {
		t.Errorf("unbook: %v", err)
	}
	if err := ledger.Close(t.Context(), mailbox, time.Now().Add(time.Hour), "429"); err != nil {
		t.Errorf("close: %v", err)
	}
	if err := box.Drafted(t.Context(), jobs[0], "AAMk"); err != nil {
		t.Errorf("drafted: %v", err)
	}
	body, err := box.Open(t.Context(), jobs[0])
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(body); err != nil {
		t.Error(err)
	}
	if err := box.Settle(t.Context(), jobs[0], outbound.Verdict{Sent: []string{ann}}); err != nil {
		t.Errorf("settle: %v", err)
	}
	if err := box.Retry(t.Context(), second); err != nil {
		t.Errorf("retry: %v", err)
	}
	if err := box.Drop(t.Context(), second); err != nil {
		t.Errorf("drop: %v", err)
	}
	if _, err := box.Get(t.Context(), first); !errors.Is(err, outbound.ErrNone) {
		t.Errorf("what was sent is still there: %v", err)
	}
}
