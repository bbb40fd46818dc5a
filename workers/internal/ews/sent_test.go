package ews_test

import (
	"strings"
	"testing"
	"time"

	sandboxfault "mailporter/sandbox/fault"
	"mailporter/workers/internal/ews"
	"mailporter/workers/internal/fault"
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
	open := func(t *testing.T) outbound.SentFinder { return w.sentItems(t, folder) }
	return w.Archive(t, folder, open, sandboxfault.Rule{}, sandboxfault.Rule{Step: "find", Action: sandboxfault.Reset})
}

func (w *world) sentItems(t *testing.T, folder string) *ews.SentItems {
	t.Helper()
	s := w.settings(t)
	w.Broker.SetMailboxes(s)
	f, err := ews.NewSentItems(ews.Config{Settings: s, Broker: w.Client, Roots: w.Sandbox.CertPool()}, folder)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestSentItemsNeedAPerson: what only a person can mend is told from what passes.
func TestSentItemsNeedAPerson(t *testing.T) {
	w := newWorld(t)
	f := w.sentItems(t, "")
	w.Fault(sandboxfault.Rule{Step: "find", Action: sandboxfault.Reply, Text: "ErrorAccessDenied"})
	if _, err := f.FindSent(t.Context(), "<1@contoso.example>", time.Now()); fault.Of(err) != fault.Auth {
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
