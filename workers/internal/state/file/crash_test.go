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
	"sync"
	"testing"
	"time"

	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
)

// What the test's own program is told to be, and the folder to be it in.
const (
	childDir  = "MAILPORTER_TEST_STATE_DIR"
	senderDir = "MAILPORTER_TEST_SENDER_DIR"
)

const (
	long  = time.Hour
	box   = "a@x.example"
	lanes = 3 // connections of a sender
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
	listen(t, childDir, dir, lines, func(what, value string) {
		switch what {
		case "added":
			acknowledged[value] = true
		case "saved":
			cursor, _ = strconv.Atoi(value)
		}
	})
	return cursor
}

// listen runs a child until it has said so many lines, kills it, and tells each line that it said until then: a word and the
// rest.
func listen(t *testing.T, mode, dir string, lines int, heard func(what, value string)) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), mode+"="+dir)
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
		what, value, _ := strings.Cut(scanner.Text(), " ")
		if what == "error" {
			t.Fatal(value)
		}
		heard(what, value)
	}
	_ = cmd.Wait() // it was killed
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

// sender works off the outbox over some connections as a Sender does: it prints what it begins and whether that is in doubt, and what
// it has settled, claiming the next with it.
func sender(dir string) {
	s, err := Open(dir)
	if err != nil {
		fmt.Println("error", err)
		return
	}
	jobs, err := s.Outbox().Claim(context.Background(), []string{box}, lanes, lanes, long)
	if err != nil {
		fmt.Println("error", err)
	}
	var side sync.WaitGroup
	for _, j := range jobs {
		side.Go(func() {
			for next := []outbound.Job{j}; len(next) > 0; {
				j, err := next[0], error(nil)
				fmt.Println("begun", j.ID, j.InDoubt)
				if next, err = s.Outbox().SettleAndClaim(context.Background(), j, outbound.Verdict{Sent: []string{"b@x.example"}}, lanes, long); err != nil {
					fmt.Println("error", err)
				}
				fmt.Println("settled", j.ID)
			}
		})
	}
	side.Wait()
}

// TestKilledSender kills a process while it settles and claims, again and again, until everything is sent: what it settled is gone,
// what it never began is not lost, nothing is begun a second time without a mark, and a death leaves no more in doubt than the
// connections it had.
func TestKilledSender(t *testing.T) {
	dir := t.TempDir()
	waiting := fill(t, dir, 80)
	begun, settled := map[string]bool{}, map[string]bool{}
	for round := 0; len(waiting) > 0; round++ {
		listen(t, senderDir, dir, 9+round, func(what, value string) {
			id, doubt, _ := strings.Cut(value, " ")
			if what == "settled" {
				settled[id] = true
				return
			}
			if begun[id] && doubt != "true" {
				t.Errorf("round %d: %s was begun before, and nothing said so", round, id)
			}
			begun[id] = true
		})
		waiting = survivors(t, dir, waiting, begun, settled, lanes*(round+1))
		if round == 100 {
			t.Fatalf("%d messages left after 100 rounds", len(waiting))
		}
	}
}

func fill(t *testing.T, dir string, messages int) map[string]bool {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer shut(t, s)
	ids := map[string]bool{}
	for range messages {
		id, err := s.Outbox().Add(t.Context(), small())
		if err != nil {
			t.Fatal(err)
		}
		ids[id] = true
	}
	return ids
}

// survivors are the messages that a killed sender left behind. doubts bounds how many of them may be in doubt.
func survivors(t *testing.T, dir string, before, begun, settled map[string]bool, doubts int) map[string]bool {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer shut(t, s)
	all, err := s.Outbox().List(t.Context(), "", 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	left := map[string]bool{}
	for _, m := range all {
		left[m.ID] = true
		if m.Recipients[0].State == outbound.Unknown {
			doubts--
		}
		if settled[m.ID] {
			t.Errorf("%s was settled and is back", m.ID)
		}
	}
	for id := range before {
		if !left[id] && !begun[id] {
			t.Errorf("%s was never begun and is lost", id)
		}
	}
	if doubts < 0 {
		t.Errorf("%d more messages in doubt than there were connections", -doubts)
	}
	return left
}
