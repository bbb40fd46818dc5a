package mailstore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const support = "support@contoso.example"

// both runs a test on a store in memory and on one on the disk.
func both(t *testing.T, f func(t *testing.T, s *Store)) {
	for _, kind := range []string{"memory", "disk"} {
		t.Run(kind, func(t *testing.T) {
			dir := ""
			if kind == "disk" {
				dir = t.TempDir()
			}
			f(t, open(t, dir))
		})
	}
}

func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := s.Create(support, Exchange()); err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s *Store, raw string) uint32 {
	t.Helper()
	uids, err := s.Deliver([]byte(raw), []Target{{Mailbox: support, Folder: Inbox}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return uids[0]
}

func look(t *testing.T, s *Store, name string) Folder {
	t.Helper()
	f, err := s.Folder(support, name)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestDeliverGivesConsecutiveUIDs(t *testing.T) {
	both(t, func(t *testing.T, s *Store) {
		for want := uint32(1); want <= 3; want++ {
			if got := put(t, s, fmt.Sprint("message ", want)); got != want {
				t.Errorf("UID %d, want %d", got, want)
			}
		}
		twice, err := s.Deliver([]byte("twice"), []Target{{Mailbox: "SUPPORT@contoso.example", Folder: "inbox"}, {Mailbox: support, Folder: Inbox}}, nil)
		if err != nil || !slices.Equal(twice, []uint32{4, 5}) {
			t.Errorf("two targets in one folder: %v, %v", twice, err)
		}
		f := look(t, s, "Inbox")
		if f.UIDNext != 6 || len(f.Messages) != 5 {
			t.Errorf("folder %+v", f)
		}
		if b, err := f.Messages[1].Raw(); err != nil || string(b) != "message 2" {
			t.Errorf("raw %q, %v", b, err)
		}
	})
}

func TestDeliverIsAllOrNothing(t *testing.T) {
	both(t, func(t *testing.T, s *Store) {
		_, err := s.Deliver([]byte("x"), []Target{{Mailbox: support, Folder: Inbox}, {Mailbox: "nobody@x", Folder: Inbox}}, &Outbound{From: support})
		if !errors.Is(err, ErrNoMailbox) || len(look(t, s, Inbox).Messages) != 0 || len(s.Outbound()) != 0 {
			t.Errorf("got %v, %d messages, %d outbound", err, len(look(t, s, Inbox).Messages), len(s.Outbound()))
		}
	})
}

func TestFlags(t *testing.T) {
	both(t, func(t *testing.T, s *Store) {
		uid := put(t, s, "x")
		for _, step := range []struct {
			mode  FlagMode
			flags []string
			want  []string
		}{
			{FlagsAdd, []string{`\seen`, "Work"}, []string{`\Seen`, "work"}},
			{FlagsAdd, []string{`\SEEN`}, []string{`\Seen`, "work"}},
			{FlagsRemove, []string{"WORK", `\Draft`}, []string{`\Seen`}},
			{FlagsSet, []string{`\flagged`}, []string{`\Flagged`}},
			{FlagsSet, nil, []string{}},
		} {
			before := look(t, s, Inbox)
			if err := s.SetFlags(support, Inbox, []uint32{uid, 99}, step.mode, step.flags); err != nil {
				t.Fatal(err)
			}
			after := look(t, s, Inbox)
			if got := after.Messages[0].Flags; !slices.Equal(got, step.want) {
				t.Errorf("%s %v: %v, want %v", step.mode, step.flags, got, step.want)
			}
			if before.Version == after.Version || before.Messages[0] == after.Messages[0] {
				t.Error("a snapshot must not change under its reader")
			}
		}
	})
}

func TestMoveKeepsTheIDAndCopyDoesNot(t *testing.T) {
	both(t, func(t *testing.T, s *Store) {
		one, two := put(t, s, "one"), put(t, s, "two")
		id := look(t, s, Inbox).Messages[0].ID
		copied, err := s.Copy(support, Inbox, []uint32{one, two, 99}, "Archive")
		if err != nil || !slices.Equal(copied.To, []uint32{1, 2}) {
			t.Fatalf("copy %+v, %v", copied, err)
		}
		moved, err := s.Move(support, Inbox, []uint32{one}, "Archive")
		if err != nil || !slices.Equal(moved.To, []uint32{3}) || moved.Validity != look(t, s, "Archive").UIDValidity {
			t.Fatalf("move %+v, %v", moved, err)
		}
		f := look(t, s, "Archive")
		if f.Messages[2].ID != id || f.Messages[0].ID == id {
			t.Errorf("ids: %s, %s; was %s", f.Messages[2].ID, f.Messages[0].ID, id)
		}
		if left := look(t, s, Inbox).Messages; len(left) != 1 || left[0].UID != two {
			t.Errorf("left %+v", left)
		}
		if _, err := s.Move(support, Inbox, []uint32{two}, "Nowhere"); !errors.Is(err, ErrNoFolder) {
			t.Errorf("move to nowhere: %v", err)
		}
	})
}

func TestFoldersComeAndGo(t *testing.T) {
	both(t, func(t *testing.T, s *Store) {
		if err := s.CreateFolder(support, FolderSpec{Name: "Failed"}); err != nil {
			t.Fatal(err)
		}
		first := look(t, s, "Failed").UIDValidity
		if err := s.CreateFolder(support, FolderSpec{Name: "Failed"}); !errors.Is(err, ErrExists) {
			t.Errorf("twice: %v", err)
		}
		if err := s.RenameFolder(support, "Failed", "Archive"); !errors.Is(err, ErrExists) {
			t.Errorf("rename onto another: %v", err)
		}
		if err := s.RenameFolder(support, "Failed", "Bad"); err != nil || look(t, s, "Bad").UIDValidity != first {
			t.Errorf("rename: %v", err)
		}
		if err := s.DropFolder(support, "Bad"); err != nil {
			t.Fatal(err)
		}
		if err := s.CreateFolder(support, FolderSpec{Name: "Failed"}); err != nil || look(t, s, "Failed").UIDValidity <= first {
			t.Errorf("a folder made anew must have a new UIDVALIDITY: %v", err)
		}
		if err := s.CreateFolder("nobody@x", FolderSpec{Name: "A"}); !errors.Is(err, ErrNoMailbox) {
			t.Errorf("no mailbox: %v", err)
		}
		if s.Used(support, UseTrash) != "Deleted Items" || s.Used(support, `\All`) != "" || s.Used("nobody@x", UseTrash) != "" {
			t.Error("special use")
		}
	})
}

func TestRenumber(t *testing.T) {
	both(t, func(t *testing.T, s *Store) {
		put(t, s, "one")
		two := put(t, s, "two")
		if _, err := s.Expunge(support, Inbox, []uint32{1}); err != nil {
			t.Fatal(err)
		}
		before := look(t, s, Inbox)
		if err := s.Renumber(support, Inbox); err != nil {
			t.Fatal(err)
		}
		after := look(t, s, Inbox)
		if after.UIDValidity <= before.UIDValidity || after.UIDNext != 2 || after.Messages[0].UID != 1 || before.Messages[0].UID != two {
			t.Errorf("before %+v, after %+v", before, after)
		}
	})
}

func TestWatchersAreToldOnce(t *testing.T) {
	both(t, func(t *testing.T, s *Store) {
		changed, stop := s.Watch("Support@contoso.example")
		put(t, s, "one")
		put(t, s, "two")
		<-changed
		select {
		case <-changed:
			t.Error("two changes, read late, are one notice")
		default:
		}
		stop()
		put(t, s, "three")
		select {
		case <-changed:
			t.Error("told after the end of the watch")
		default:
		}
	})
}

func TestReplayGivesTheSameState(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	for i := range 10 {
		put(t, s, fmt.Sprint("message ", i))
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.CreateFolder(support, FolderSpec{Name: "Failed"}))
	must(s.SetFlags(support, Inbox, []uint32{1, 2}, FlagsAdd, []string{`\Seen`}))
	_, err := s.Copy(support, Inbox, []uint32{1}, "Failed")
	must(err)
	_, err = s.Move(support, Inbox, []uint32{2, 3}, "Archive")
	must(err)
	_, err = s.Expunge(support, Inbox, []uint32{4})
	must(err)
	must(s.Renumber(support, "Archive"))
	must(s.RenameFolder(support, "Failed", "Bad"))
	must(s.DropFolder(support, "Drafts"))
	_, err = s.Deliver([]byte("away"), nil, &Outbound{From: support, To: []string{"a@elsewhere.example"}})
	must(err)
	before := dump(t, s)
	must(s.Close())
	if _, err := s.Deliver(nil, nil, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if after := dump(t, open(t, dir)); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
}

func dump(t *testing.T, s *Store) string {
	t.Helper()
	var b strings.Builder
	folders, err := s.Folders(support)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range folders {
		fmt.Fprintln(&b, f.Name, f.Use, f.UIDValidity, f.UIDNext)
		for _, m := range f.Messages {
			raw, err := m.Raw()
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&b, "  %d %s %v %s %d %q\n", m.UID, m.ID, m.Flags, m.Received.UTC().Format("15:04:05.000000000"), m.Size, raw)
		}
	}
	for _, o := range s.Outbound() {
		raw, err := o.Raw()
		fmt.Fprintln(&b, o.From, o.To, o.At.UTC().UnixNano(), string(raw), err)
	}
	return b.String()
}

// TestTornJournal cuts the journal at every byte of its last entry: what was acknowledged before stays, and the store goes
// on.
func TestTornJournal(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	put(t, s, "kept")
	path := filepath.Join(dir, "mail.journal")
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, "torn")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	all, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := len(whole); cut < len(all); cut++ {
		torn := t.TempDir()
		if err := os.WriteFile(filepath.Join(torn, "mail.journal"), all[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		again, err := Open(torn)
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if uid := put(t, again, "next"); uid != 2 || len(look(t, again, Inbox).Messages) != 2 {
			t.Errorf("cut at %d: UID %d, %d messages", cut, uid, len(look(t, again, Inbox).Messages))
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("got %v", err)
	}
}

func TestBrokenDiskStopsTheStore(t *testing.T) {
	s := open(t, t.TempDir())
	put(t, s, "fine")
	if err := s.journal.file.Close(); err != nil { // the nearest thing to a disk that fails
		t.Fatal(err)
	}
	for range 2 {
		if _, err := s.Deliver([]byte("lost"), []Target{{Mailbox: support, Folder: Inbox}}, nil); err == nil {
			t.Error("acknowledged what cannot be on the disk")
		}
	}
	if n := len(look(t, s, Inbox).Messages); n != 1 {
		t.Errorf("%d messages", n)
	}
	s.journal.file, _ = os.Open(os.DevNull)
}

func TestConcurrentWritersAndReaders(t *testing.T) {
	s := open(t, t.TempDir())
	const writers, each = 8, 25
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				if _, err := s.Deliver(fmt.Appendf(nil, "%d %d", w, i), []Target{{Mailbox: support, Folder: Inbox}}, nil); err != nil {
					t.Error(err)
					return
				}
				f, err := s.Folder(support, Inbox)
				if err != nil || !slices.IsSortedFunc(f.Messages, func(a, b *Message) int { return int(a.UID) - int(b.UID) }) {
					t.Errorf("snapshot out of order, %v", err)
					return
				}
			}
		})
	}
	wg.Wait()
	seen := map[string]bool{}
	for _, m := range look(t, s, Inbox).Messages {
		raw, err := m.Raw()
		if err != nil {
			t.Fatal(err)
		}
		seen[string(raw)] = true
	}
	if len(seen) != writers*each {
		t.Errorf("%d different messages, want %d", len(seen), writers*each)
	}
}

// FuzzReadEntry: whatever stands in a journal, it is an entry, torn, or an error; never a panic or a huge allocation.
func FuzzReadEntry(f *testing.F) {
	dir := f.TempDir()
	j, err := openJournal(dir, func(*record, blob) error { return nil })
	if err != nil {
		f.Fatal(err)
	}
	if _, err := j.append(&record{Op: opMailbox, Mailbox: support, Folders: Exchange()}, []byte("body")); err != nil {
		f.Fatal(err)
	}
	whole, err := os.ReadFile(filepath.Join(dir, "mail.journal"))
	if err != nil {
		f.Fatal(err)
	}
	if err := j.close(); err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add([]byte{0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, '{'})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, body, next, err := readEntry(bytes.NewReader(b), 0, int64(len(b)))
		if err == nil && (r == nil || next > int64(len(b)) || body.off+body.n != next) {
			t.Errorf("entry ends at %d of %d, body %d+%d", next, len(b), body.off, body.n)
		}
	})
}

// BenchmarkDeliver is durable delivery by as many connections as a busy test has.
func BenchmarkDeliver(b *testing.B) {
	s, err := Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	if err := s.Create(support, Exchange()); err != nil {
		b.Fatal(err)
	}
	raw := bytes.Repeat([]byte("x"), 50<<10)
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := s.Deliver(raw, []Target{{Mailbox: support, Folder: Inbox}}, nil); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
