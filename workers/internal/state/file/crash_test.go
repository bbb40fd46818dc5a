package file

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
)

const (
	childDir = "MAILPORTER_TEST_STATE_DIR"
	long     = time.Hour
	box      = "a@x.example"
)

func inboxOf(mailbox string) mail.Folder { return mail.Folder{Mailbox: mailbox, Name: "INBOX"} }

func recipients(addresses ...string) []mail.Recipient {
	var all []mail.Recipient
	for _, a := range addresses {
		all = append(all, mail.Recipient{Address: a})
	}
	return all
}

func saveOf(t *testing.T, l inbound.Lease) func(*sql.Tx) error {
	own := l.(*lease)
	return func(tx *sql.Tx) error {
		if !own.store.leases.keep(own) {
			return inbound.ErrLost
		}
		_, err := tx.Exec("INSERT INTO cursors (mailbox, folder, cursor) VALUES (?, ?, ?)", own.folder.Mailbox, own.folder.Name, []byte(t.Name()))
		return err
	}
}

// child adds messages and saves cursors as fast as it can, and prints each once it was acknowledged, until it is killed.
func child(dir string) {
	s, err := Open(dir)
	if err != nil {
		fmt.Println("error", err)
		return
	}
	ctx := context.Background()
	l, err := s.Checkpoints().Lease(ctx, inboxOf(box), long)
	if err != nil {
		fmt.Println("error", err)
		return
	}
	for range 4 {
		go func() {
			for i := 0; ; i++ {
				m := outbound.Submission{Mailbox: box, Body: strings.NewReader(strings.Repeat("x", 1+i%3*inline)), Envelope: mail.Envelope{Recipients: recipients("b@x.example")}}
				if id, err := s.Outbox().Add(ctx, m); err == nil {
					fmt.Println("added", id)
				}
			}
		}()
	}
	first, _ := strconv.Atoi(string(l.Cursor()))
	for i := first + 1; ; i++ {
		if err := l.Save(ctx, inbound.Cursor(strconv.Itoa(i))); err == nil {
			fmt.Println("saved", i)
		}
	}
}

// TestKilled kills a process in the middle of its writes, again and again: whatever it acknowledged is there, and every
// message that is there has its bytes.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	acknowledged := map[string]bool{}
	cursor := 0
	for round := range 25 {
		cursor = max(cursor, killed(t, dir, acknowledged, 20+round))
		s, err := Open(dir)
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		verify(t, s, acknowledged, cursor)
		shut(t, s)
	}
	if len(acknowledged) < 25 || cursor < 25 {
		t.Fatalf("only %d messages and %d cursors in 25 rounds: nothing was tried", len(acknowledged), cursor)
	}
}

// killed runs a child until it has acknowledged so many things, kills it, and returns the last cursor it saved.
func killed(t *testing.T, dir string, acknowledged map[string]bool, lines int) (cursor int) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	scanner := bufio.NewScanner(out)
	for n := 0; scanner.Scan(); n++ {
		if n == lines {
			_ = cmd.Process.Kill()
		}
		switch what, value, _ := strings.Cut(scanner.Text(), " "); what {
		case "added":
			acknowledged[value] = true
		case "saved":
			cursor, _ = strconv.Atoi(value)
		case "error":
			t.Fatal(value)
		}
	}
	_ = cmd.Wait() // it was killed
	return cursor
}

func verify(t *testing.T, s *Store, acknowledged map[string]bool, cursor int) {
	t.Helper()
	all, err := s.Outbox().List(t.Context(), "", 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, m := range all {
		there[m.ID] = true
		r, err := s.Outbox().Open(t.Context(), outbound.Job{ID: m.ID})
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, r)
		if err != nil || n != m.Size || r.Close() != nil {
			t.Fatalf("message %s has %d bytes of %d, %v", m.ID, n, m.Size, err)
		}
	}
	for id := range acknowledged {
		if !there[id] {
			t.Fatalf("message %s was acknowledged and is lost", id)
		}
	}
	l, err := s.Checkpoints().Lease(t.Context(), inboxOf(box), long)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := strconv.Atoi(string(l.Cursor())); got < cursor {
		t.Fatalf("cursor %d, though %d was acknowledged", got, cursor)
	}
}
