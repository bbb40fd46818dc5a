package programtest

import (
	"fmt"
	"net/smtp"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailporter/kit/redistest"
	"mailporter/kit/tokenclient"
	"mailporter/kit/tokenclient/brokertest"
	"mailporter/sandbox"
	"mailporter/sandbox/fault"
)

// Together tries two workers that share a Redis, and read and send from one mailbox, which writes to itself. throttled is how many
// requests the provider refused for being too many at a time: none is.
func Together(t *testing.T, w Both, slow fault.Rule, throttled func(*sandbox.Sandbox) int) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("", func(t *testing.T) { // its cleanups end before the leak check
		var log Log
		var tokens minted
		sb := provider(t, 10*time.Minute, w.Roles...)
		sb.Faults().Add(slow)
		broker := brokertest.New(t)
		broker.OnMint(func(tokenclient.Ask) (string, time.Time, error) { return tokens.add(w.access(sb)) })
		all := w.settings(t, sb)
		all[1].Mailbox, all[1].Endpoint.User = all[0].Mailbox, all[0].Endpoint.User
		broker.SetMailboxes(all...)
		address, redis := broker.Listen(t, nil), redistest.Start(t)
		var dirs, doors []string
		for range 2 {
			dir, admin := configure(t, sb, address)
			shareState(t, dir, redis.URL())
			dirs, doors = append(dirs, dir), append(doors, addIntake(t, dir))
			defer Start(t, w.App, dir, &log)()
			WaitFor(t, "readiness", func() bool { return Page(admin, "/readyz") != "" })
		}
		want := deliver(t, sb, 0)[:10] // in the first mailbox; those keep its reader busy
		for n := range 3 {
			want = append(want, deliver(t, sb, n+1)[:10]...)
		}
		for n := range letters {
			text := fmt.Appendf(nil, "From: <%s>\r\nTo: <%s>\r\nMessage-ID: <%d@test.example>\r\n\r\n%s", mailboxes[0], mailboxes[0], n, strings.Repeat("0123456789\r\n", n*40))
			if err := smtp.SendMail(doors[n%2], nil, mailboxes[0], mailboxes[:1], text); err != nil {
				t.Fatal(err)
			}
			want = append(want, text)
		}
		both := func() [][]byte { return append(arrived(t, dirs[0]), arrived(t, dirs[1])...) }
		WaitFor(t, "the last letter", func() bool { return len(both()) == len(want) })
		mustEqual(t, both(), want)
		if n := throttled(sb); n != 0 {
			t.Errorf("the provider refused %d requests", n)
		}
	})
}

// shareState puts the state of the worker in dir into a Redis.
func shareState(t *testing.T, dir, redis string) {
	t.Helper()
	path := filepath.Join(dir, "worker.yaml")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(b), "file:state", redis, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}
