package imap_test

import (
	"strings"
	"testing"
	"time"

	sandboxfault "mailporter/sandbox/fault"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/imap"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/outbound/outboundtest"
)

func TestSentItems(t *testing.T) {
	for name, mailbox := range map[string]string{"exchange": support, "gmail": gmail} {
		t.Run(name, func(t *testing.T) {
			outboundtest.SentFinder(t, func(t *testing.T) *outboundtest.SentServer {
				w := newWorld(t)
				w.Mailbox = mailbox
				return w.archive(t, "")
			})
		})
	}
	t.Run("a folder by name", func(t *testing.T) {
		outboundtest.SentFinder(t, func(t *testing.T) *outboundtest.SentServer { return newWorld(t).archive(t, "Sent/2026") })
	})
}

// archive is the far side; folder is where sent mail is, empty = where the provider has it.
func (w *world) archive(t *testing.T, folder string) *outboundtest.SentServer {
	t.Helper()
	open := func(t *testing.T) outbound.SentFinder { return w.sentItems(t, folder) }
	return w.Archive(t, folder, open, sandboxfault.Rule{Step: "authenticate"}, sandboxfault.Rule{Step: "search", Action: sandboxfault.Reset})
}

func (w *world) sentItems(t *testing.T, folder string) *imap.SentItems {
	t.Helper()
	s := w.settings(t)
	w.Broker.SetMailboxes(s)
	f, err := imap.NewSentItems(imap.Config{Settings: s, Broker: w.Client, Roots: w.Sandbox.CertPool()}, folder)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestNoSentItems: what is not there is said, and how to mend it.
func TestNoSentItems(t *testing.T) {
	w := newWorld(t)
	_, err := w.sentItems(t, "Gone/2026").FindSent(t.Context(), "<1@contoso.example>", time.Now())
	if fault.Of(err) != fault.Gone || !strings.Contains(err.Error(), "Gone/2026") || !strings.Contains(err.Error(), "sent-items") {
		t.Errorf("%v", err)
	}
}

// TestLookingChangesNothing: no copy is marked as read by it.
func TestLookingChangesNothing(t *testing.T) {
	w := newWorld(t)
	w.Deliver(t, "Sent Items", letter(1))
	if found, err := w.sentItems(t, "").FindSent(t.Context(), "<1@test.example>", time.Time{}); err != nil || !found {
		t.Fatal(found, err)
	}
	if m := w.Folder(t, "Sent Items").Messages[0]; len(m.Flags) != 0 {
		t.Errorf("flags %v", m.Flags)
	}
}
