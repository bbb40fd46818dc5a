package imap_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/sandbox"
	"mailporter/sandbox/fault"
	"mailporter/sandbox/imapd"
	"mailporter/sandbox/mailstore"
	wfault "mailporter/workers/internal/fault"
	"mailporter/workers/internal/imap"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/providertest"
)

func TestLogins(t *testing.T) {
	tests := []struct {
		name      string
		mailbox   string
		mechanism tokenclient.Mechanism
	}{
		{"XOAUTH2 at Exchange", support, tokenclient.XOAUTH2},
		{"XOAUTH2 at Gmail", gmail, tokenclient.XOAUTH2},
		{"OAUTHBEARER at Gmail", gmail, tokenclient.OAUTHBEARER},
		{"password at Exchange", support, tokenclient.Basic},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t)
			w.Mailbox = test.mailbox
			if test.mechanism == tokenclient.Basic {
				w.Broker.OnMint(func(tokenclient.Ask) (string, time.Time, error) { return pass, time.Time{}, nil })
			}
			s := w.settings(t)
			s.Endpoint.Mechanism = test.mechanism
			w.Deliver(t, "INBOX", letter(1))
			src := w.source(t, s, "INBOX")
			if got := providertest.Read(t, src, providertest.Page(t, src, nil).Items[0].ID); !bytes.Equal(got, letter(1)) {
				t.Errorf("read %q", got)
			}
		})
	}
}

func TestAMailboxWithoutIMAPNamesTheRemedy(t *testing.T) {
	w := newWorld(t)
	w.Mailbox = "noimap@contoso.example"
	_, err := w.source(t, w.settings(t), "INBOX").List(t.Context(), nil, 10)
	var e *wfault.Error
	if !errors.As(err, &e) || e.Kind != wfault.Auth || e.Remedy == "" {
		t.Errorf("list: %v, want an auth error with a remedy", err)
	}
}

func TestThrottlingCarriesTheServersTime(t *testing.T) {
	w := newWorld(t)
	w.Fault(fault.Rule{Step: "select", Action: fault.Reply, Text: "BAD Request is throttled. Suggested Backoff Time: 90000 milliseconds"})
	_, err := w.source(t, w.settings(t), "INBOX").List(t.Context(), nil, 10)
	if wfault.Of(err) != wfault.Throttled || wfault.After(err) != 90*time.Second {
		t.Errorf("list: %v (%s, after %s)", err, wfault.Of(err), wfault.After(err))
	}
}

func TestATokenThatExpiresIsAPlannedEnd(t *testing.T) {
	w := newWorld(t)
	for i := range 2 {
		w.Deliver(t, "INBOX", letter(i))
	}
	w.Fault(fault.Rule{Step: "fetch", Action: fault.Bye, Text: "Session invalidated - AccessTokenExpired", Count: 1})
	src := w.source(t, w.settings(t), "INBOX")
	if _, err := src.List(t.Context(), nil, 10); !errors.Is(err, inbound.ErrSessionOver) {
		t.Errorf("list: %v, want ErrSessionOver", err)
	}
	if p := providertest.Page(t, src, nil); len(p.Items) != 2 {
		t.Errorf("%d items after the reconnect", len(p.Items))
	}
	if n := len(w.Broker.Rejections()); n != 0 {
		t.Errorf("%d tokens were reported as refused", n)
	}
}

func TestTheConnectionEndsBeforeItsToken(t *testing.T) {
	w := newWorld(t)
	w.Live(3 * time.Second)
	s := w.settings(t)
	s.Margin = 2500 * time.Millisecond
	src := w.source(t, s, "INBOX")
	providertest.Page(t, src, nil)
	if err := src.Wait(t.Context(), time.Minute); err != nil { // until the margin begins
		t.Errorf("wait: %v", err)
	}
	providertest.Page(t, src, nil)
	stats := w.Sandbox.Stats().IMAP
	if stats.Logins != 2 || stats.Expired != 0 {
		t.Errorf("%d logins, %d sessions ended by the server, want 2 and none", stats.Logins, stats.Expired)
	}
}

func TestOneConnectionServesManyCalls(t *testing.T) {
	w := newWorld(t)
	src := w.source(t, w.settings(t), "INBOX")
	for range 5 {
		providertest.Page(t, src, nil)
	}
	if n := w.Sandbox.Stats().IMAP.Logins; n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
}

func TestACutMessageIsNoWholeOne(t *testing.T) {
	w := newWorld(t)
	big := append(letter(1), bytes.Repeat([]byte("0123456789\r\n"), 50_000)...)
	w.Deliver(t, "INBOX", big)
	src := w.source(t, w.settings(t), "INBOX")
	id := providertest.Page(t, src, nil).Items[0].ID
	for _, bytes := range []int{0, 1, 5000, 300_000} {
		rule := w.Fault(fault.Rule{Step: "fetch", Action: fault.Cut, Bytes: bytes, Count: 1})
		r, err := src.Open(t.Context(), id)
		if err == nil {
			_, err = io.Copy(io.Discard, r)
			_ = r.Close()
		}
		if err == nil || w.Sandbox.Faults().Fired(rule) != 1 {
			t.Errorf("cut after %d bytes: %v", bytes, err)
		}
	}
	if got := providertest.Read(t, src, id); !slices.Equal(got, big) {
		t.Errorf("read %d bytes in the end, want %d", len(got), len(big))
	}
}

func TestAStalledServerIsLeft(t *testing.T) {
	for _, step := range []string{"connect", "authenticate", "select", "search", "fetch"} {
		t.Run(step, func(t *testing.T) {
			w := newWorld(t)
			w.Deliver(t, "INBOX", letter(1))
			w.Fault(fault.Rule{Step: step, Action: fault.Stall, Count: 1})
			s := w.settings(t)
			s.Endpoint.ProtocolTimeout = 200 * time.Millisecond
			src := w.source(t, s, "INBOX")
			if _, err := src.List(t.Context(), nil, 10); err == nil || wfault.Of(err) != wfault.Temporary {
				t.Errorf("list: %v, want a temporary error", err)
			}
			if p := providertest.Page(t, src, nil); len(p.Items) != 1 {
				t.Errorf("%d items in the end", len(p.Items))
			}
		})
	}
}

func TestAContextEndsAStalledCall(t *testing.T) {
	w := newWorld(t)
	rule := w.Fault(fault.Rule{Step: "select", Action: fault.Stall})
	src := w.source(t, w.settings(t), "INBOX")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := src.List(ctx, nil, 10)
		ended <- err
	}()
	for w.Sandbox.Faults().Fired(rule) == 0 {
		<-time.After(time.Millisecond)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("list: %v", err)
	}
}

func TestMarkRead(t *testing.T) {
	w := newWorld(t)
	w.Deliver(t, "INBOX", letter(1))
	w.Deliver(t, "INBOX", letter(2))
	s := w.settings(t)
	s.Inbound.After = tokenclient.MarkRead
	src := w.source(t, s, "INBOX")
	p := providertest.Page(t, src, nil)
	providertest.Read(t, src, p.Items[1].ID)
	if err := src.Settle(t.Context(), providertest.IDs(p)[:1]); err != nil {
		t.Fatal(err)
	}
	var seen []bool
	for _, m := range w.Folder(t, "INBOX").Messages {
		seen = append(seen, m.Has(`\Seen`))
	}
	if !slices.Equal(seen, []bool{true, false}) {
		t.Errorf("seen: %v; the settled one alone is to be marked, not the one that was read", seen)
	}
}

func TestMoveAndSetAsideMakeTheirFolders(t *testing.T) {
	for _, mailbox := range []string{support, gmail} {
		t.Run(mailbox, func(t *testing.T) {
			w := newWorld(t)
			w.Mailbox = mailbox
			w.Deliver(t, "INBOX", letter(1))
			w.Deliver(t, "INBOX", letter(2))
			s := w.settings(t)
			s.Inbound.After, s.Inbound.FailedFolder = tokenclient.Move, "Fehlgeschlagen/Übergroß & mehr"
			src := w.source(t, s, "INBOX")
			p := providertest.Page(t, src, nil)
			if err := src.Settle(t.Context(), providertest.IDs(p)[:1]); err != nil {
				t.Fatal(err)
			}
			for range 2 { // again: it is gone, which is no error
				if moved, err := src.SetAside(t.Context(), p.Items[1].ID); err != nil || !moved {
					t.Fatalf("set aside: %t, %v", moved, err)
				}
			}
			done, failed := w.Holds(t, s.Inbound.AfterFolder), w.Holds(t, s.Inbound.FailedFolder)
			if len(done) != 1 || !bytes.Equal(done[0], letter(1)) || len(failed) != 1 || !bytes.Equal(failed[0], letter(2)) {
				t.Errorf("%d moved, %d set aside", len(done), len(failed))
			}
		})
	}
}

func TestWithoutAFailedItemsFolderNothingIsSetAside(t *testing.T) {
	w := newWorld(t)
	w.Deliver(t, "INBOX", letter(1))
	src := w.source(t, w.settings(t), "INBOX")
	if moved, err := src.SetAside(t.Context(), providertest.Page(t, src, nil).Items[0].ID); err != nil || moved {
		t.Errorf("set aside: %t, %v", moved, err)
	}
}

func TestIdleHearsOfNewMail(t *testing.T) {
	w := newWorld(t)
	src := w.source(t, w.settings(t), "INBOX")
	at := providertest.Page(t, src, nil).Next
	rule := w.Fault(fault.Rule{Step: "idle", Action: fault.Delay, Delay: time.Millisecond})
	heard := make(chan error, 1)
	go func() { heard <- src.Wait(t.Context(), time.Hour) }()
	for w.Sandbox.Faults().Fired(rule) == 0 {
		<-time.After(time.Millisecond)
	}
	w.Deliver(t, "INBOX", letter(1))
	if err := <-heard; err != nil {
		t.Fatalf("wait: %v", err)
	}
	if p := providertest.Page(t, src, at); len(p.Items) != 1 {
		t.Errorf("%d items after IDLE", len(p.Items))
	}
}

func TestWaitEndsByItself(t *testing.T) {
	for _, mailbox := range []string{support, gmail} { // the latter offers no IDLE here
		w := newWorld(t)
		w.Mailbox = mailbox
		src := w.source(t, w.settings(t), "INBOX")
		if err := src.Wait(t.Context(), 20*time.Millisecond); err != nil {
			t.Errorf("%s: wait: %v", mailbox, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if err := src.Wait(ctx, time.Hour); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: wait: %v", mailbox, err)
		}
		providertest.Page(t, src, nil) // still of use
	}
}

func TestExpiryWithinIdleIsPlanned(t *testing.T) {
	w := newWorld(t)
	w.Fault(fault.Rule{Step: "idle", Action: fault.Bye, Text: "Session invalidated - AccessTokenExpired", Count: 1})
	src := w.source(t, w.settings(t), "INBOX")
	if err := src.Wait(t.Context(), time.Hour); !errors.Is(err, inbound.ErrSessionOver) {
		t.Errorf("wait: %v, want ErrSessionOver", err)
	}
}

func TestJunk(t *testing.T) {
	for mailbox, name := range map[string]string{support: "Junk Email", gmail: "[Gmail]/Spam"} {
		t.Run(mailbox, func(t *testing.T) {
			w := newWorld(t)
			w.Mailbox = mailbox
			src := w.source(t, w.settings(t), "INBOX")
			at := providertest.Page(t, src, nil).Next
			for want := range 3 {
				n, oldest, err := src.CountJunk(t.Context())
				if err != nil || n != want || oldest.IsZero() != (want == 0) {
					t.Errorf("junk: %d since %s, %v, want %d", n, oldest, err, want)
				}
				w.Deliver(t, name, letter(want))
			}
			if p := providertest.Page(t, src, at); len(p.Items) != 0 { // back in the folder that is read
				t.Errorf("%d items in the inbox", len(p.Items))
			}
			junk := w.source(t, w.settings(t), inbound.JunkFolder)
			if p := providertest.Page(t, junk, nil); len(p.Items) != 3 {
				t.Errorf("%d items read out of the junk folder, want 3", len(p.Items))
			}
		})
	}
}

func TestALargeFolderWithGaps(t *testing.T) {
	w := newWorld(t)
	for i := range 300 {
		w.Deliver(t, "INBOX", letter(i))
	}
	var gap []uint32
	for uid := uint32(6); uid <= 290; uid++ {
		gap = append(gap, uid)
	}
	store := w.Sandbox.Store()
	if err := store.SetFlags(support, "INBOX", gap, mailstore.FlagsAdd, []string{`\Deleted`}); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Expunge(support, "INBOX", gap); err != nil {
		t.Fatal(err)
	}
	src := w.source(t, w.settings(t), "INBOX")
	var got int
	var at inbound.Cursor
	for more := true; more; {
		p, err := src.List(t.Context(), at, 2)
		if err != nil {
			t.Fatal(err)
		}
		got, at, more = got+len(p.Items), p.Next, p.More
	}
	if got != 15 {
		t.Errorf("%d messages, want 15", got)
	}
}

func TestBadSettingsAreAllNamed(t *testing.T) {
	_, err := imap.New(imap.Config{Folder: "INBOX", Settings: tokenclient.Settings{Inbound: tokenclient.InboundSettings{
		After: tokenclient.Move, AfterFolder: "INBOX", FailedFolder: "INBOX"}}})
	for _, want := range []string{"server", "pop-connection-security", "mechanism", "disposition", "failed-items-folder-name", "broker"} {
		if err == nil || !bytes.Contains([]byte(err.Error()), []byte(want)) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}

func TestStartTLS(t *testing.T) {
	w := newWorldWith(t, func(c *sandbox.Config) { c.IMAPSecurity = imapd.StartTLS })
	w.Deliver(t, "INBOX", letter(1))
	s := w.settings(t)
	s.Endpoint.Security = tokenclient.StartTLS
	src := w.source(t, s, "INBOX")
	if got := providertest.Read(t, src, providertest.Page(t, src, nil).Items[0].ID); !bytes.Equal(got, letter(1)) {
		t.Errorf("read %q", got)
	}
}
