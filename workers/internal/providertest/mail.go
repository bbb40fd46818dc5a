package providertest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"mailporter/sandbox/mailstore"
)

// Letter is message number i.
func Letter(i int) []byte {
	return fmt.Appendf(nil, "Message-ID: <%d@test.example>\r\nSubject: %d\r\n\r\nbody %d\r\n", i, i, i)
}

// Deliver puts a message into a folder of the mailbox. All arrive at the same moment, so that equal messages are equal.
func (w *World) Deliver(t *testing.T, folder string, raw []byte) {
	t.Helper()
	to := mailstore.Target{Mailbox: w.Mailbox, Folder: folder, Received: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	if _, err := w.Sandbox.Store().Deliver(raw, []mailstore.Target{to}, nil); err != nil {
		t.Fatal(err)
	}
}

// Folder is a folder of the mailbox, empty if there is none.
func (w *World) Folder(t *testing.T, folder string) mailstore.Folder {
	t.Helper()
	f, err := w.Sandbox.Store().Folder(w.Mailbox, folder)
	if err != nil && !errors.Is(err, mailstore.ErrNoFolder) {
		t.Fatal(err)
	}
	return f
}

// Holds are the messages of a folder of the mailbox.
func (w *World) Holds(t *testing.T, folder string) [][]byte {
	t.Helper()
	return contents(t, w.Folder(t, folder))
}

// Inbox is what arrived for an address.
func (w *World) Inbox(t *testing.T, address string) [][]byte {
	t.Helper()
	f, err := w.Sandbox.Store().Folder(address, mailstore.Inbox)
	if err != nil {
		t.Fatal(err)
	}
	return contents(t, f)
}

func contents(t *testing.T, f mailstore.Folder) (all [][]byte) {
	t.Helper()
	for _, m := range f.Messages {
		raw, err := m.Raw()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, raw)
	}
	return all
}

// Remove takes one message that equals raw out of a folder of the mailbox, as another program would.
func (w *World) Remove(t *testing.T, folder string, raw []byte) {
	t.Helper()
	for _, m := range w.Folder(t, folder).Messages {
		if b, err := m.Raw(); err != nil || string(b) != string(raw) {
			continue
		}
		w.expunge(t, folder, m.UID)
		return
	}
	t.Fatal("no such message to remove")
}

func (w *World) expunge(t *testing.T, folder string, uid uint32) {
	t.Helper()
	store := w.Sandbox.Store()
	if err := store.SetFlags(w.Mailbox, folder, []uint32{uid}, mailstore.FlagsAdd, []string{`\Deleted`}); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Expunge(w.Mailbox, folder, []uint32{uid}); err != nil {
		t.Fatal(err)
	}
}
