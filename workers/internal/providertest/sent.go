package providertest

import (
	"errors"
	"strings"
	"testing"
	"time"

	"mailporter/sandbox/fault"
	"mailporter/sandbox/mailstore"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/outbound/outboundtest"
)

// Archive is the mailbox's sent mail for the suite that looks into it. folder is where it lies, / between levels; empty:
// where the provider has it. refuse and cut are the faults of a refused token and a broken look.
func (w *World) Archive(t *testing.T, folder string, open func(t *testing.T) outbound.SentFinder, refuse, cut fault.Rule) *outboundtest.SentServer {
	t.Helper()
	kept := w.makeFolder(t, folder)
	return &outboundtest.SentServer{
		Open: open,
		Keep: func(t *testing.T, inbox bool, raw []byte, at time.Time) {
			to := mailstore.Target{Mailbox: w.Mailbox, Folder: kept, Received: at}
			if inbox {
				to.Folder = mailstore.Inbox
			}
			if _, err := w.Sandbox.Store().Deliver(raw, []mailstore.Target{to}, nil); err != nil {
				t.Fatal(err)
			}
		},
		RefuseTokens: func(_ *testing.T, n int) {
			refuse.Action, refuse.Count = fault.RefuseToken, max(n, 0)
			w.Fault(refuse)
		},
		Cut: func(*testing.T) {
			cut.Count = 1
			w.Fault(cut)
		},
		Secrets: w.Secrets,
	}
}

// makeFolder makes a folder with those above it; empty: it is that of sent mail, which is there.
func (w *World) makeFolder(t *testing.T, folder string) string {
	t.Helper()
	store := w.Sandbox.Store()
	if folder == "" {
		return store.Used(w.Mailbox, mailstore.UseSent)
	}
	var errs []error
	for i := range folder + "/" {
		if strings.HasPrefix((folder + "/")[i:], "/") {
			errs = append(errs, store.CreateFolder(w.Mailbox, mailstore.FolderSpec{Name: folder[:i]}))
		}
	}
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return folder
}
