package main

import (
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailporter/sandbox/fault"
	"mailporter/workers/internal/program/programtest"
)

// TestMailArrivesWithoutTheBroker: while the broker is away the worker makes new connections with the tokens that it holds.
func TestMailArrivesWithoutTheBroker(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("", func(t *testing.T) { // its cleanups end before the leak check
		var log programtest.Log
		var tokens []string
		sb := startSandbox(t, 10*time.Minute)
		broker := startBroker(t, sb, &tokens)
		dir, admin := configure(t, sb, broker.Listen(t, nil))
		stop := programtest.Start(t, worker.App(), dir, &log)
		sent := len(deliver(t, sb, 0))
		programtest.WaitFor(t, "mail with the broker there", func() bool { return len(arrived(t, dir)) == sent })
		programtest.WaitFor(t, "a watch of both mailboxes", func() bool {
			all := broker.Watched()
			return len(all) == 1 && len(all[0]) == len(mailboxes)
		})

		broker.Stop()
		logins := sb.Stats().IMAP.Logins
		for _, mailbox := range mailboxes {
			sb.Faults().Add(fault.Rule{Target: fault.IMAP, Step: "fetch", Mailbox: mailbox, Count: 1, Action: fault.Bye, Text: "going down"})
		}
		sent += len(deliver(t, sb, 1))
		programtest.WaitFor(t, "mail without the broker", func() bool { return len(arrived(t, dir)) == sent })
		if n := sb.Stats().IMAP.Logins - logins; n < len(mailboxes) {
			t.Errorf("%d logins: the old sessions went on, so nothing was shown", n)
		}

		broker.Start()
		sent += len(deliver(t, sb, 2))
		programtest.WaitFor(t, "mail after the outage", func() bool { return len(arrived(t, dir)) == sent })
		mustBeHealthy(t, admin)
		stop()
		if strings.Contains(log.String(), `"level":"ERROR"`) {
			t.Errorf("somebody was called for an outage that did no harm:\n%s", log.String())
		}
	})
}
