package graph_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	sandboxfault "mailporter/sandbox/fault"
	"mailporter/sandbox/mailstore"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/graph"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/outbound/outboundtest"
)

func TestSentItems(t *testing.T) {
	for name, folder := range map[string]string{"where the provider keeps it": "", "a folder by name": "Sent/2026"} {
		t.Run(name, func(t *testing.T) {
			outboundtest.SentFinder(t, func(t *testing.T) *outboundtest.SentServer { return newWorld(t).archive(t, folder) })
		})
	}
}

// archive is the far side; folder is where sent mail is, empty = where the provider has it.
func (w *world) archive(t *testing.T, folder string) *outboundtest.SentServer {
	t.Helper()
	store := w.sandbox.Store()
	kept := folder
	if kept == "" {
		kept = store.Used(w.mailbox, mailstore.UseSent)
	} else if err := errors.Join(store.CreateFolder(w.mailbox, mailstore.FolderSpec{Name: "Sent"}), store.CreateFolder(w.mailbox, mailstore.FolderSpec{Name: kept})); err != nil {
		t.Fatal(err)
	}
	return &outboundtest.SentServer{
		Open: func(t *testing.T) outbound.SentFinder { return w.sentItems(t, folder) },
		Keep: func(t *testing.T, inbox bool, raw []byte, at time.Time) {
			to := mailstore.Target{Mailbox: w.mailbox, Folder: kept, Received: at}
			if inbox {
				to.Folder = mailstore.Inbox
			}
			if _, err := store.Deliver(raw, []mailstore.Target{to}, nil); err != nil {
				t.Fatal(err)
			}
		},
		RefuseTokens: func(_ *testing.T, n int) {
			w.fault(sandboxfault.Rule{Action: sandboxfault.RefuseToken, Count: max(n, 0)})
		},
		Cut: func(*testing.T) {
			w.fault(sandboxfault.Rule{Step: "list", Action: sandboxfault.Reply, Status: 502, Count: 1}) // a GET on a broken link is sent again by itself
		},
		Secrets: w.secrets,
	}
}

func (w *world) sentItems(t *testing.T, folder string) *graph.SentItems {
	t.Helper()
	s := w.settings(t)
	w.broker.SetMailboxes(s)
	f, err := graph.NewSentItems(graph.Config{Settings: s, Broker: w.client, Roots: w.sandbox.CertPool()}, folder)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestSentItemsNeedAPerson: what only a person can mend is told from what passes.
func TestSentItemsNeedAPerson(t *testing.T) {
	w := newWorld(t)
	f := w.sentItems(t, "")
	w.fault(sandboxfault.Rule{Step: "list", Action: sandboxfault.Reply, Status: 403, Body: `{"error":{"code":"ErrorAccessDenied"}}`})
	if _, err := f.FindSent(t.Context(), "<1@contoso.example>", time.Now()); fault.Of(err) != fault.Auth || !strings.Contains(err.Error(), "Mail.ReadWrite") {
		t.Errorf("%v", err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}

// TestNoSentItems: a folder that is not there is named.
func TestNoSentItems(t *testing.T) {
	w := newWorld(t)
	f := w.sentItems(t, "Gone/2026")
	_, err := f.FindSent(t.Context(), "<1@contoso.example>", time.Now())
	if fault.Of(err) != fault.Gone || !strings.Contains(err.Error(), "Gone") {
		t.Errorf("%v", err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}
