package programtest

import (
	"bytes"
	"fmt"
	"net/smtp"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailporter/kit/tokenclient"
	"mailporter/kit/tokenclient/brokertest"
	"mailporter/sandbox"
	"mailporter/workers/internal/report/reporttest"
)

// Reported tries a worker that takes the recipients from the header: a message whose header names a stranger dies before it is
// sent, and its report comes into the sender's mailbox over the same protocol, once.
func Reported(t *testing.T, w Both) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("", func(t *testing.T) { // its cleanups end before the leak check
		var log Log
		var tokens minted
		sb := provider(t, 10*time.Minute, w.Roles...)
		broker := brokertest.New(t)
		broker.OnMint(func(tokenclient.Ask) (string, time.Time, error) { return tokens.add(w.access(sb)) })
		broker.SetMailboxes(w.settings(t, sb)...)
		dir, admin := configure(t, sb, broker.Listen(t, nil))
		door := addIntake(t, dir)
		WantReports(t, dir)
		stop := Start(t, w.App, dir, &log)
		WaitFor(t, "readiness", func() bool { return Page(admin, "/readyz") != "" })
		raw := fmt.Appendf(nil, "From: <%s>\r\nTo: <stranger@elsewhere.example>\r\nMessage-ID: <1@test.example>\r\nSubject: x\r\n\r\nx\r\n", mailboxes[0])
		Submit(t, door, raw, "MAIL FROM:<"+mailboxes[0]+"> RET=FULL", "RCPT TO:<"+mailboxes[1]+">")
		WaitFor(t, "the report", func() bool { return len(Reports(t, sb, mailboxes[0])) == 1 })
		r := Reports(t, sb, mailboxes[0])[0]
		if to := r.Recipients[0]; to.Get("Final-Recipient") != "rfc822; "+mailboxes[1] || to.Get("Action") != "failed" || to.Get("Status") != "5.0.0" ||
			!bytes.Equal(r.Third, raw) || r.Header.Get("In-Reply-To") != "<1@test.example>" {
			t.Errorf("report %+v", r)
		}
		WaitFor(t, "an outbox with the dead message alone", func() bool { return strings.Count(Page(admin, "/outbox"), `"mailbox"`) == 1 })
		if n := len(Reports(t, sb, mailboxes[0])); n != 1 {
			t.Errorf("%d reports, want 1", n)
		}
		stop()
		tokens.mustBeHidden(t, &log)
	})
}

// WantReports gives the file of the worker in dir a section that sends reports to the senders.
func WantReports(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, "worker.yaml")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(b, "reports: {to: sender}\n"...), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Submit hands a message in at door, with the commands for its envelope as they are.
func Submit(t *testing.T, door string, message []byte, commands ...string) {
	t.Helper()
	c, err := smtp.Dial(door)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Hello("test.example"); err != nil {
		t.Fatal(err)
	}
	for _, command := range commands {
		if err := c.Text.PrintfLine("%s", command); err != nil {
			t.Fatal(err)
		}
		if _, answer, err := c.Text.ReadResponse(250); err != nil {
			t.Fatalf("%s: %s %v", command, answer, err)
		}
	}
	w, err := c.Data()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(message); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// Reports are the delivery reports in a mailbox's inbox.
func Reports(t *testing.T, sb *sandbox.Sandbox, mailbox string) (all []reporttest.Report) {
	t.Helper()
	f, err := sb.Store().Folder(mailbox, "INBOX")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range f.Messages {
		raw, err := m.Raw()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Contains(raw, []byte("multipart/report")) {
			continue
		}
		r, err := reporttest.Parse(raw)
		if err != nil {
			t.Fatalf("%v in\n%s", err, raw)
		}
		all = append(all, r)
	}
	return all
}
