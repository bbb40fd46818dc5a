package main

import (
	"io"
	"os"
	"strings"
	"testing"

	"mailporter/sandbox/fault"
	"mailporter/workers/internal/program/programtest"
)

// TestReports: a sender finds in his own mailbox that a recipient was refused, unless he asked not to be told. Of what the server
// took it reports itself, as it says.
func TestReports(t *testing.T) {
	w := newWorld(t)
	programtest.WantReports(t, w.dir)
	stop := programtest.Start(t, worker.App(), w.dir, io.Discard)
	defer stop()
	programtest.WaitFor(t, "readiness", func() bool { return w.ask("/readyz") != "" })
	dead := func(n int) func() bool {
		return func() bool {
			page := w.ask("/outbox")
			return strings.Count(page, `"dead"`) == n && strings.Count(page, `"mailbox"`) == n
		}
	}
	w.refuseNext()
	programtest.Submit(t, w.intake, letter(0), "MAIL FROM:<"+mailboxes[0]+"> RET=FULL ENVID=QQ+2B1", "RCPT TO:<"+inbox+"> ORCPT=rfc822;in+2Bbox@contoso.example")
	programtest.WaitFor(t, "the first report", func() bool { return len(programtest.Reports(t, w.sandbox, mailboxes[0])) == 1 })
	w.mustTell(t)
	programtest.WaitFor(t, "the dead message alone", dead(1))
	w.refuseNext()
	programtest.Submit(t, w.intake, letter(3), "MAIL FROM:<"+mailboxes[0]+">", "RCPT TO:<"+inbox+"> NOTIFY=NEVER")
	programtest.WaitFor(t, "the second dead message", dead(2))
	programtest.Submit(t, w.intake, letter(6), "MAIL FROM:<"+mailboxes[0]+">", "RCPT TO:<"+inbox+"> NOTIFY=SUCCESS")
	programtest.WaitFor(t, "a letter", func() bool { return w.arrived(t)[string(letter(6))] == 1 })
	programtest.WaitFor(t, "the two dead messages alone", dead(2))
	if n := len(programtest.Reports(t, w.sandbox, mailboxes[0])); n != 1 {
		t.Errorf("%d reports, want 1", n)
	}
	if m := w.ask("/metrics"); !strings.Contains(m, `outbound_reports_total{action="failed"} 1`) {
		t.Error("the metrics do not count the report")
	}
}

// refuseNext lets the server know no such recipient, once.
func (w *world) refuseNext() {
	w.sandbox.Faults().Add(fault.Rule{Target: fault.SMTP, Step: "rcpt", Action: fault.Reply, Text: "550 5.1.1 no such mailbox", Count: 1, Mailbox: mailboxes[0]})
}

// mustTell reads the report of letter 0.
func (w *world) mustTell(t *testing.T) {
	t.Helper()
	r := programtest.Reports(t, w.sandbox, mailboxes[0])[0]
	for name, want := range map[string]string{
		"Original-Recipient": "rfc822; in+box@contoso.example", "Final-Recipient": "rfc822; " + inbox, "Action": "failed", "Status": "5.1.1",
		"Diagnostic-Code": "smtp; 550 5.1.1 no such mailbox",
	} {
		if got := r.Recipients[0].Get(name); got != want {
			t.Errorf("%s %q, want %q", name, got, want)
		}
	}
	if r.Message.Get("Original-Envelope-Id") != "QQ+1" || r.Header.Get("To") != "<"+mailboxes[0]+">" || r.Header.Get("In-Reply-To") != "<0@test.example>" {
		t.Errorf("about the message: %v, header %v", r.Message, r.Header)
	}
	if r.ThirdType != "message/rfc822" || string(r.Third) != string(letter(0)) {
		t.Errorf("the message came back as %s, %q", r.ThirdType, r.Third)
	}
}

// TestReportsOutliveKills kills the worker's process again and again while it reports. Every sender is told, and of each
// message there is one report: what may come twice, as all mail that was being sent at a kill, is the same one.
func TestReportsOutliveKills(t *testing.T) {
	const n, kills = 45, 3
	w := newWorld(t)
	programtest.WantReports(t, w.dir)
	worker := w.spawn(t)
	for i := range n {
		from := mailboxes[i%3]
		programtest.Submit(t, w.intake, letter(i), "MAIL FROM:<"+from+">", "RCPT TO:<nobody@contoso.example>")
	}
	for k := range kills {
		programtest.WaitFor(t, "some reports", func() bool { told, _ := w.told(t); return len(told) > k*n/(kills+1) })
		if err := worker.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = worker.Wait() // killed, as said
		worker = w.spawn(t)
	}
	programtest.WaitFor(t, "the dead messages alone", func() bool {
		page := w.ask("/outbox")
		return strings.Count(page, `"dead"`) == n && strings.Count(page, `"mailbox"`) == n
	})
	told, reports := w.told(t)
	if len(told) != n || len(reports) != n {
		t.Errorf("%d reports tell of %d messages, want %d", len(reports), len(told), n)
	}
	if err := worker.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := worker.Wait(); err != nil {
		t.Errorf("the worker ended: %v", err)
	}
}

// told is of which messages senders were told, and by which reports.
func (w *world) told(t *testing.T) (messages, reports map[string]bool) {
	t.Helper()
	messages, reports = map[string]bool{}, map[string]bool{}
	for _, m := range mailboxes {
		for _, r := range programtest.Reports(t, w.sandbox, m) {
			messages[r.Header.Get("In-Reply-To")], reports[r.Header.Get("Message-Id")] = true, true
		}
	}
	return messages, reports
}
