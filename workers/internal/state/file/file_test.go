package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/inbound/inboundtest"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/outbound/outboundtest"
)

func TestMain(m *testing.M) {
	if os.Getenv(childDir) != "" {
		child(os.Getenv(childDir))
		return
	}
	if os.Getenv(senderDir) != "" {
		sender(os.Getenv(senderDir))
		return
	}
	goleak.VerifyTestMain(m)
}

// fresh makes an empty store; what it returns opens it, after closing the former handle.
func fresh[T any](part func(*Store) T) func(t *testing.T) func(t *testing.T) T {
	return func(t *testing.T) func(t *testing.T) T {
		dir := t.TempDir()
		var last *Store
		t.Cleanup(func() { shut(t, last) })
		return func(t *testing.T) T {
			t.Helper()
			shut(t, last)
			s, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			last = s
			return part(s)
		}
	}
}

func shut(t *testing.T, s *Store) {
	t.Helper()
	if s == nil {
		return
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestLedger(t *testing.T) {
	t.Parallel()
	outboundtest.Ledger(t, fresh((*Store).Ledger))
}

func TestCheckpoints(t *testing.T) {
	t.Parallel()
	inboundtest.Checkpoints(t, fresh((*Store).Checkpoints))
}

func TestQuarantine(t *testing.T) {
	t.Parallel()
	inboundtest.Quarantine(t, fresh((*Store).Quarantine))
}

func TestDeliveries(t *testing.T) {
	t.Parallel()
	inboundtest.Deliveries(t, fresh((*Store).Deliveries))
}

func TestOutbox(t *testing.T) {
	t.Parallel()
	outboundtest.Outbox(t, fresh((*Store).Outbox))
}

func TestOneProcess(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer shut(t, s)
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "is in use by process") || !strings.Contains(err.Error(), dir) {
		t.Fatalf("a second one opened it: %v", err)
	}
}

func TestRelativeFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	s, err := Open("state")
	if err != nil {
		t.Fatal(err)
	}
	shut(t, s)
	if _, err := os.Stat(filepath.Join("state", "worker.db")); err != nil {
		t.Fatal(err)
	}
}

func TestNewerSchema(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.write.Exec(fmt.Sprintf("PRAGMA user_version = %d", len(migrations)+1)); err != nil {
		t.Fatal(err)
	}
	shut(t, s)
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "newer version") {
		t.Fatalf("opened what it cannot know: %v", err)
	}
}

func TestSpoolIsSweptAndEmptied(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	large := outbound.Submission{Mailbox: "a@x.example", Body: strings.NewReader(strings.Repeat("x", inline+1))}
	large.Envelope.Recipients = recipients("b@x.example")
	if _, err := s.Outbox().Add(t.Context(), large); err != nil {
		t.Fatal(err)
	}
	if n := spooled(t, dir); n != 1 {
		t.Fatalf("%d spool files, want 1: the message is larger than a row should be", n)
	}
	if err := os.WriteFile(filepath.Join(dir, spoolDir, "orphan"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	shut(t, s)
	if s, err = Open(dir); err != nil {
		t.Fatal(err)
	}
	defer shut(t, s)
	if n := spooled(t, dir); n != 1 {
		t.Fatalf("%d spool files after the sweep, want the one that a row names", n)
	}
	jobs, err := s.Outbox().Claim(t.Context(), []string{"a@x.example"}, 1, 1, long)
	if err != nil || len(jobs) != 1 {
		t.Fatal(jobs, err)
	}
	if err := s.Outbox().Settle(t.Context(), jobs[0], outbound.Verdict{Sent: []string{"b@x.example"}}); err != nil {
		t.Fatal(err)
	}
	if n := spooled(t, dir); n != 0 {
		t.Fatalf("%d spool files after everybody has the message", n)
	}
}

func spooled(t *testing.T, dir string) int {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, spoolDir))
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestABadChangeSpoilsNoOther: changes that share a commit fail alone.
func TestABadChangeSpoilsNoOther(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer shut(t, s)
	lost, err := s.Checkpoints().Lease(t.Context(), inboxOf("a"), long)
	if err != nil {
		t.Fatal(err)
	}
	if err := lost.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	good, err := s.Checkpoints().Lease(t.Context(), inboxOf("b"), long)
	if err != nil {
		t.Fatal(err)
	}
	bad, fine := job{t.Context(), nil, make(chan error, 1)}, job{t.Context(), nil, make(chan error, 1)}
	bad.do, fine.do = saveOf(t, lost), saveOf(t, good)
	s.commit([]job{bad, fine})
	if err := <-bad.done; !errors.Is(err, inbound.ErrLost) {
		t.Errorf("the bad one: %v", err)
	}
	if err := <-fine.done; err != nil {
		t.Errorf("the good one: %v", err)
	}
}

func TestOnlyTheOwnerMayRead(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil { // a folder that somebody else made
		t.Fatal(err)
	}
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer shut(t, s)
	for _, name := range []string{database, database + "-wal", "lock", spoolDir} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v, %v", name, info.Mode(), err)
		}
	}
}

// TestFullDisk: what does not fit is refused, leaves nothing behind, and does not stop what comes when there is room again.
func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer shut(t, s)
	var pages int
	if err := s.write.QueryRow("PRAGMA page_count").Scan(&pages); err != nil {
		t.Fatal(err)
	}
	limit := func(n int) {
		if _, err := s.write.Exec(fmt.Sprintf("PRAGMA max_page_count = %d", n)); err != nil {
			t.Fatal(err)
		}
	}
	limit(pages)
	for name, size := range map[string]int{"a row": inline, "a file": inline + 1} {
		m := outbound.Submission{Mailbox: box, Body: strings.NewReader(strings.Repeat("x", size))}
		m.Envelope.From = strings.Repeat("f", 100<<10) // the row itself needs pages
		m.Envelope.Recipients = recipients("b@x.example")
		if id, err := s.Outbox().Add(t.Context(), m); err == nil || fault.Of(err) != fault.Temporary {
			t.Fatalf("%s: %q, %v", name, id, err)
		}
	}
	if n := spooled(t, dir); n != 0 {
		t.Errorf("%d spool files of messages that were refused", n)
	}
	limit(1 << 20)
	if _, err := s.Outbox().Add(t.Context(), small()); err != nil {
		t.Fatal(err)
	}
}

// TestIncomingMailLeavesRoom: on a disk without the room that sending needs, mail would stay for ever.
func TestIncomingMailLeavesRoom(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer shut(t, s)
	out := s.Outbox()
	if _, err := out.Add(t.Context(), small()); err != nil {
		t.Fatal(err)
	}
	s.reserve = math.MaxUint64
	if _, err := out.Add(t.Context(), small()); fault.Of(err) != fault.Temporary || !strings.Contains(fmt.Sprint(err), "make room") {
		t.Errorf("a message: %v", err)
	}
	// A large one fills the disk while it comes.
	if _, err := s.storeFile(strings.NewReader(strings.Repeat("x", 3<<20))); !strings.Contains(fmt.Sprint(err), "make room") {
		t.Errorf("a large message: %v", err)
	}
	if n := spooled(t, s.dir); n != 0 {
		t.Errorf("%d spool files of messages that were refused", n)
	}
	jobs, err := out.Claim(t.Context(), []string{box}, 1, 1, time.Minute)
	if err != nil || len(jobs) != 1 {
		t.Fatalf("%d jobs, %v", len(jobs), err)
	}
	if err := out.Settle(t.Context(), jobs[0], outbound.Verdict{Sent: []string{jobs[0].Envelope.Recipients[0].Address}}); err != nil {
		t.Error(err)
	}
}

func TestNobodyToSendTo(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer shut(t, s)
	m := small()
	m.Envelope.Recipients = nil
	if _, err := s.Outbox().Add(t.Context(), m); fault.Of(err) != fault.Permanent {
		t.Fatalf("a message without recipients: %v", err)
	}
}

func TestRequestsOfTwoMailboxes(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer shut(t, s)
	ids := map[string]bool{}
	for _, mailbox := range []string{"a@x.example", "b@x.example", "a@x.example"} {
		m := small()
		m.Mailbox, m.Request = mailbox, "1"
		id, err := s.Outbox().Add(t.Context(), m)
		if err != nil {
			t.Fatal(err)
		}
		ids[id] = true
	}
	if len(ids) != 2 {
		t.Fatalf("%d messages, want one of each mailbox", len(ids))
	}
}

// TestClosed: what comes too late hears an error instead of waiting for ever.
func TestClosed(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Checkpoints().Lease(t.Context(), inboxOf("a"), long)
	if err != nil {
		t.Fatal(err)
	}
	shut(t, s)
	shut(t, s)
	if err := l.Save(context.Background(), inbound.Cursor("late")); !errors.Is(err, errClosed) {
		t.Errorf("save: %v", err)
	}
	if _, err := s.Outbox().Add(context.Background(), small()); !errors.Is(err, errClosed) {
		t.Errorf("add: %v", err)
	}
}

// TestADamagedStateSaysWhatToDo: nothing is thrown away, and the folder can be opened by the next who tries.
func TestADamagedStateSaysWhatToDo(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"another file": func([]byte) []byte { return bytes.Repeat([]byte("garbage "), 4096) },
		"a bad disk": func(b []byte) []byte {
			for i := 4096; i < len(b); i += 3 {
				b[i] = 'Z'
			}
			return b
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, database)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			b = damage(b)
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), path+" is damaged") || !strings.Contains(err.Error(), ".recover") {
					t.Error(err)
				}
			}
			if after, err := os.ReadFile(path); err != nil || !bytes.Equal(after, b) {
				t.Errorf("the file was changed; %v", err)
			}
		})
	}
}

// TestAFullDiskIsSeen: the worker is not ready while its disk takes nothing, keeps what it has, and is ready again by itself.
func TestAFullDiskIsSeen(t *testing.T) {
	s, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	pages := func(limit string) {
		t.Helper()
		if _, err := s.write.Exec("PRAGMA max_page_count = " + limit); err != nil {
			t.Fatal(err)
		}
	}
	pages("40")
	taken := 0
	for ; err == nil && taken < 1000; taken++ {
		to := []mail.Recipient{{Address: "ann@elsewhere.example"}}
		_, err = s.Outbox().Add(t.Context(), outbound.Submission{Mailbox: "a", Envelope: mail.Envelope{From: "a", Recipients: to}, Body: strings.NewReader(strings.Repeat("x", 5000))})
	}
	if err == nil || !strings.Contains(err.Error(), "full") {
		t.Fatalf("%d messages, %v", taken, err)
	}
	if err := s.Ping(); err == nil || !strings.Contains(err.Error(), "full") {
		t.Errorf("it says %v", err)
	}
	pages("4000")
	if jobs, err := s.Outbox().Claim(t.Context(), []string{"a"}, 1000, 1000, time.Hour); err != nil || len(jobs) != taken-1 {
		t.Errorf("%d of %d are left, %v", len(jobs), taken-1, err)
	}
	if err := s.Ping(); err != nil {
		t.Error(err)
	}
}
