package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailporter/sandbox/fault"
	"mailporter/workers/internal/program/programtest"
)

// TestMailGoesOut is the whole worker: real sockets, an outbox on disk, tokens of three seconds.
func TestMailGoesOut(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	var log programtest.Log
	var tokens []string
	t.Run("", func(t *testing.T) { // its cleanups end before the leak check
		const n = 200
		w := newWorld(t)
		stop := programtest.Start(t, worker.App(), w.dir, &log)
		programtest.WaitFor(t, "readiness", func() bool { return w.ask("/readyz") != "" })
		began := time.Now()
		var clients sync.WaitGroup
		for c := range 4 {
			clients.Go(func() {
				for from := c * n / 4; from < (c+1)*n/4; from += 10 {
					if taken, err := w.submit(numbers(from, from+10)...); err != nil || taken != 10 {
						t.Errorf("submitted %d of 10: %v", taken, err)
					}
				}
			})
		}
		clients.Wait()
		t.Logf("%d messages were taken in %v", n, time.Since(began))
		programtest.WaitFor(t, "the last message", func() bool { return len(w.arrived(t)) >= n })
		t.Logf("%d messages were sent after %v", n, time.Since(began))
		afterTokensEnd(t, w)
		if doubled := w.mustHaveAll(t, n+1); doubled != 0 {
			t.Errorf("%d letters arrived twice", doubled)
		}
		for _, m := range mailboxes {
			if peak := w.sandbox.Stats().SMTP.Peak[m]; peak > 3 {
				t.Errorf("%s had %d connections", m, peak)
			}
		}
		programtest.WaitFor(t, "an empty outbox", func() bool { return strings.TrimSpace(w.ask("/outbox")) == "[]" })
		if m := w.ask("/metrics"); !strings.Contains(m, fmt.Sprintf(`outbound_attempts_total{kind="sent",protocol="SMTP"} %d`, n+1)) {
			t.Error("the metrics do not count what was sent")
		}
		stop()
		tokens = w.tokens
	})
	for _, token := range tokens {
		if strings.Contains(log.String(), token) {
			t.Error("a token is in the log")
		}
	}
}

// afterTokensEnd sends one more when the tokens of before are void: letter 200.
func afterTokensEnd(t *testing.T, w *world) {
	t.Helper()
	programtest.WaitFor(t, "the end of all connections", func() bool {
		open := 0
		for _, n := range w.sandbox.Stats().SMTP.Open {
			open += n
		}
		return open == 0 // closed at usable_until, though nobody had to send
	})
	if taken, err := w.submit(200); err != nil || taken != 1 {
		t.Fatal(err)
	}
	programtest.WaitFor(t, "letter 200", func() bool { return w.arrived(t)[string(letter(200))] == 1 })
}

func numbers(from, to int) (all []int) {
	for n := from; n < to; n++ {
		all = append(all, n)
	}
	return all
}

// TestKilled kills the worker's process again and again while mail comes in and goes out. What was taken arrives.
func TestKilled(t *testing.T) {
	const n, kills = 90, 3
	w := newWorld(t)
	worker := w.spawn(t)
	var taken sync.WaitGroup
	for c := range 3 {
		taken.Go(func() { w.insist(t, numbers(c*n/3, (c+1)*n/3)) })
	}
	for k := range kills {
		programtest.WaitFor(t, "some mail", func() bool { return len(w.arrived(t)) > k*n/(kills+1) })
		if err := worker.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = worker.Wait() // killed, as said
		worker = w.spawn(t)
	}
	taken.Wait()
	programtest.WaitFor(t, "the last message", func() bool { return len(w.arrived(t)) >= n })
	programtest.WaitFor(t, "an empty outbox", func() bool { return strings.TrimSpace(w.ask("/outbox")) == "[]" })
	doubled := w.mustHaveAll(t, n)
	t.Logf("%d of %d arrived twice", doubled, n)
	// At a kill each of three mailboxes has three messages on their way out and each of three clients one on its way in.
	if doubled > kills*12 {
		t.Errorf("%d messages arrived twice", doubled)
	}
	if err := worker.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := worker.Wait(); err != nil {
		t.Errorf("the worker ended: %v", err)
	}
}

// spawn runs the worker as a process of its own: this test binary under the program's name.
func (w *world) spawn(t *testing.T) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Args = []string{"smtp-worker", "-config", filepath.Join(w.dir, "worker.yaml")}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	programtest.WaitFor(t, "the worker", func() bool { return w.ask("/readyz") != "" })
	return cmd
}

// insist hands letters in one by one until each was taken.
func (w *world) insist(t *testing.T, letters []int) {
	for len(letters) > 0 {
		programtest.WaitFor(t, "the door", func() bool {
			n, _ := w.submit(letters...) // a worker that dies under us
			letters = letters[n:]
			return n > 0 || len(letters) == 0
		})
	}
}

// TestFailuresAreShown: what cannot be sent stands in /outbox with reason and next attempt, and waits.
func TestFailuresAreShown(t *testing.T) {
	w := newWorld(t)
	w.sandbox.Faults().Add(fault.Rule{Target: fault.SMTP, Step: "rcpt", Action: fault.Reply, Text: "550 5.1.1 no such mailbox", Count: 1, Mailbox: mailboxes[0]})
	w.sandbox.Faults().Add(fault.Rule{Target: fault.SMTP, Step: "auth", Action: fault.Reply, Mailbox: mailboxes[1],
		Text: "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox"})
	stop := programtest.Start(t, worker.App(), w.dir, io.Discard)
	defer stop()
	programtest.WaitFor(t, "readiness", func() bool { return w.ask("/readyz") != "" })
	if taken, err := w.submit(0, 1); err != nil || taken != 2 {
		t.Fatal(err)
	}
	type message struct {
		Mailbox    string    `json:"mailbox"`
		Next       time.Time `json:"next_attempt"`
		Recipients []struct{ State, Reason string }
	}
	want := map[string]struct {
		state, reason string
		again         bool
	}{
		mailboxes[0]: {"dead", "550 5.1.1 no such mailbox", false},
		mailboxes[1]: {"deferred", "Set-CASMailbox", true},
	}
	programtest.WaitFor(t, "both failures", func() bool {
		var all []message
		if err := json.Unmarshal([]byte(w.ask("/outbox")), &all); err != nil || len(all) != 2 {
			return false
		}
		for _, m := range all {
			x, r := want[m.Mailbox], m.Recipients[0]
			if r.State != x.state || !strings.Contains(r.Reason, x.reason) || m.Next.IsZero() == x.again {
				return false
			}
		}
		return true
	})
	programtest.WaitFor(t, "the status page", func() bool { // it follows the outbox
		page := w.ask("/mailboxes")
		return strings.Contains(page, "SMTP_AUTH_DISABLED") && strings.Contains(page, `"paused"`)
	})
}

// TestSendAsDenied: a good login proves nothing about the right to send. The refusal after DATA is told with who must do what,
// in the listing and on the status page, and the mail behind it goes on.
func TestSendAsDenied(t *testing.T) {
	w := newWorld(t)
	stop := programtest.Start(t, worker.App(), w.dir, io.Discard)
	defer stop()
	programtest.WaitFor(t, "readiness", func() bool { return w.ask("/readyz") != "" })
	boss := []byte("From: <boss@contoso.example>\r\nTo: <" + inbox + ">\r\nSubject: raise\r\n\r\nAll of you.\r\n")
	if err := smtp.SendMail(w.intake, nil, mailboxes[0], []string{inbox}, boss); err != nil {
		t.Fatal(err)
	}
	programtest.WaitFor(t, "the refusal", func() bool {
		state, reason := w.reason(t)
		return state == "dead" && strings.Contains(reason, "SendAsDenied") && strings.Contains(reason, "grant SendAs")
	})
	programtest.WaitFor(t, "the status page", func() bool { // it follows the outbox
		page := w.ask("/mailboxes")
		return strings.Contains(page, "SEND_AS_DENIED") && strings.Contains(page, "grant SendAs")
	})
	if taken, err := w.submit(0); err != nil || taken != 1 {
		t.Fatal(err)
	}
	programtest.WaitFor(t, "the next message", func() bool { return w.arrived(t)[string(letter(0))] == 1 })
}

// TestCorrespondentsStayOutOfTheLog: servers name in their replies whom they did not like. The operator finds them in the
// outbox; the log and the metrics name nobody.
func TestCorrespondentsStayOutOfTheLog(t *testing.T) {
	w := newWorld(t)
	to, named := programtest.Correspondents[0], programtest.Correspondents[2]
	for i, r := range []fault.Rule{
		{Step: "rcpt", Text: "550 5.1.1 <" + named + ">: Recipient address rejected"},
		{Step: "mail", Text: "451 4.7.0 " + mailboxes[1] + " may not write to " + named + " yet"},
		{Step: "data", Text: "550 5.7.1 " + strings.ReplaceAll(named, "@", "%40") + " does not want this"},
	} {
		r.Target, r.Action, r.Count, r.Mailbox = fault.SMTP, fault.Reply, 1, mailboxes[i]
		w.sandbox.Faults().Add(r)
	}
	var log programtest.Log
	stop := programtest.Start(t, worker.App(), w.dir, &log)
	programtest.WaitFor(t, "readiness", func() bool { return w.ask("/readyz") != "" })
	for _, from := range mailboxes {
		if err := smtp.SendMail(w.intake, nil, from, []string{to}, programtest.MarkedLetter(from, to)); err != nil {
			t.Fatal(err)
		}
	}
	programtest.WaitFor(t, "three refusals", func() bool { return strings.Count(w.ask("/outbox"), "marked-reply") == 3 })
	metrics := w.ask("/metrics")
	stop()
	programtest.MustNotTell(t, &log, metrics)
	if !strings.Contains(log.String(), mailboxes[1]+" may not write to [address] yet") {
		t.Errorf("the log does not say what happened: %s", log.String())
	}
}
