package programtest

import (
	"fmt"
	"net/smtp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailporter/kit/tokenclient"
	"mailporter/kit/tokenclient/brokertest"
	"mailporter/sandbox/fault"
)

// Correspondents are known to nobody: a log or a metric that knows one was told by a message or by a server's reply.
var Correspondents = []string{"marked-envelope@elsewhere.example", "marked-header@elsewhere.example", "marked-reply@elsewhere.example"}

// marked says what of the correspondents and the message is in a text.
func marked(text string) (found []string) {
	for _, m := range []string{"marked-envelope", "marked-header", "marked-reply", "marked-subject", "marked-body"} {
		if strings.Contains(strings.ToLower(text), m) {
			found = append(found, m)
		}
	}
	return found
}

// MarkedLetter is a message that nobody but its recipients may see anything of.
func MarkedLetter(from string, to ...string) []byte {
	return fmt.Appendf(nil, "From: <%s>\r\nTo: <%s>\r\nMessage-ID: <marked-header.1@elsewhere.example>\r\nSubject: marked-subject\r\n\r\nmarked-body\r\n",
		from, strings.Join(to, ">, <"))
}

// MustNotTell wants nothing of a message in what was logged and is counted, and something logged at all.
func MustNotTell(t *testing.T, log *Log, metrics string) {
	t.Helper()
	if found := marked(log.String()); found != nil || !strings.Contains(log.String(), `"WARN"`) {
		t.Errorf("the log has %v: %s", found, log.String())
	}
	if found := marked(metrics); found != nil || metrics == "" {
		t.Errorf("the metrics have %v: %s", found, metrics)
	}
}

// KeepsQuiet lets the provider name recipients in its refusals, by the rule, and refuses a message itself for whom its header
// names: the operator finds both in the outbox, the log and the metrics name nobody. The rule's refusal is for good.
func KeepsQuiet(t *testing.T, w Both, refuses fault.Rule) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("", func(t *testing.T) { // its cleanups end before the leak check
		var log Log
		sb := provider(t, time.Minute, w.Roles...)
		refuses.Count = 1
		sb.Faults().Add(refuses)
		broker := brokertest.New(t)
		broker.OnMint(func(tokenclient.Ask) (string, time.Time, error) {
			token, claims, err := w.access(sb)
			return token, claims.Expires, err
		})
		broker.SetMailboxes(w.settings(t, sb)...)
		dir, admin := configure(t, sb, broker.Listen(t, nil))
		door := addIntake(t, dir)
		stop := sync.OnceFunc(Start(t, w.App, dir, &log))
		defer stop()
		WaitFor(t, "readiness", func() bool { return Page(admin, "/readyz") != "" })
		to := Correspondents[0]
		if err := smtp.SendMail(door, nil, mailboxes[0], []string{to}, MarkedLetter(mailboxes[0], to)); err != nil {
			t.Fatal(err)
		}
		WaitFor(t, "the server's refusal", func() bool { return strings.Contains(Page(admin, "/outbox"), Correspondents[2]) })
		if err := smtp.SendMail(door, nil, mailboxes[0], []string{to}, MarkedLetter(mailboxes[0], to, Correspondents[1])); err != nil {
			t.Fatal(err)
		}
		WaitFor(t, "our own refusal", func() bool { return strings.Count(Page(admin, "/outbox"), `"dead"`) == 2 })
		metrics := Page(admin, "/metrics")
		stop()
		MustNotTell(t, &log, metrics)
		if !strings.Contains(log.String(), mailboxes[0]) {
			t.Error("the log does not name the mailbox")
		}
	})
}
