package pop3_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/sandbox"
	"mailporter/sandbox/fault"
	"mailporter/sandbox/pop3d"
	wfault "mailporter/workers/internal/fault"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/pop3"
	"mailporter/workers/internal/providertest"
)

func TestLogins(t *testing.T) {
	for name, tc := range map[string]struct {
		mailbox   string
		mechanism tokenclient.Mechanism
		twoLine   bool
	}{
		"XOAUTH2 at Exchange":                {support, tokenclient.XOAUTH2, true},
		"XOAUTH2 at Gmail, one line":         {gmail, tokenclient.XOAUTH2, false},
		"XOAUTH2 at Gmail, two lines":        {gmail, tokenclient.XOAUTH2, true},
		"OAUTHBEARER at Gmail":               {gmail, tokenclient.OAUTHBEARER, false},
		"OAUTHBEARER at Gmail, on two lines": {gmail, tokenclient.OAUTHBEARER, true},
		"password at Exchange":               {support, tokenclient.Basic, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.Mailbox = tc.mailbox
			if tc.mechanism == tokenclient.Basic {
				w.Broker.OnMint(func(tokenclient.Ask) (string, time.Time, error) { return pass, time.Time{}, nil })
			}
			s := w.settings(t)
			s.Endpoint.Mechanism, s.Endpoint.TwoLine = tc.mechanism, tc.twoLine
			w.deliver(t, letter(1))
			src := w.source(t, s)
			if got := providertest.Read(t, src, providertest.Page(t, src, nil).Items[0].ID); !bytes.Equal(got, letter(1)) {
				t.Errorf("read %q", got)
			}
		})
	}
}

func TestExchangeTakesTheTokenOnALineOfItsOwn(t *testing.T) {
	w := newWorld(t)
	s := w.settings(t)
	s.Endpoint.TwoLine = false
	_, err := w.source(t, s).List(t.Context(), nil, 10)
	if err == nil || !strings.Contains(err.Error(), "mail.pop3.auth.xoauth2.two.line.authentication.format: true") {
		t.Errorf("list: %v, want the option that helps", err)
	}
}

func TestAMailboxWithoutPOP3NamesTheRemedy(t *testing.T) {
	w := newWorld(t)
	w.Mailbox = nopop
	_, err := w.source(t, w.settings(t)).List(t.Context(), nil, 10)
	var e *wfault.Error
	if !errors.As(err, &e) || e.Kind != wfault.Auth || !strings.Contains(e.Remedy, "PopEnabled") {
		t.Errorf("list: %v, want an auth error with a remedy", err)
	}
	if all := w.Broker.Rejections(); len(all) == 0 || !strings.HasPrefix(all[0].Refusal.Server, "localhost:") || !strings.HasPrefix(all[0].Refusal.Reply, "-ERR") {
		t.Errorf("the broker heard %+v", all)
	}
}

func TestTheKeyOutlivesTheSession(t *testing.T) {
	for _, mailbox := range []string{support, gmail} {
		w := newWorld(t)
		w.Mailbox = mailbox
		for range 3 {
			w.deliver(t, letter(1))
		}
		src := w.source(t, w.settings(t))
		first := providertest.Page(t, src, nil)
		src.Yield()
		second := providertest.Page(t, src, nil)
		if !slices.EqualFunc(first.Items, second.Items, func(a, b inbound.Item) bool { return a.Key == b.Key && a.ID == b.ID }) || len(first.Items) != 3 {
			t.Errorf("%s: %+v\n%+v", mailbox, first.Items, second.Items)
		}
		src.Yield()
	}
}

func TestTheServerSaysWhatItMeans(t *testing.T) {
	for name, tc := range map[string]struct {
		step, text string
		kind       wfault.Kind
		after      time.Duration
	}{
		"throttled at login":   {"auth", "-ERR Request is throttled. Suggested Backoff Time: 90000 milliseconds", wfault.Throttled, 90 * time.Second},
		"in use":               {"auth", "-ERR [IN-USE] locked", wfault.Temporary, 0},
		"polled too often":     {"auth", "-ERR [LOGIN-DELAY] wait", wfault.Throttled, time.Minute},
		"no listing":           {"uidl", "-ERR [SYS/TEMP] later", wfault.Temporary, 0},
		"no sizes":             {"list", "-ERR Server Unavailable. 21", wfault.Temporary, 0},
		"the token's time ran": {"uidl", "-ERR Session invalidated - AccessTokenExpired", wfault.Temporary, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.deliver(t, letter(1))
			w.Fault(fault.Rule{Step: tc.step, Action: fault.Reply, Text: tc.text, Count: 1})
			src := w.source(t, w.settings(t))
			_, err := src.List(t.Context(), nil, 10)
			if err == nil || wfault.Of(err) != tc.kind || wfault.After(err) != tc.after {
				t.Errorf("list: %v (%s, after %s)", err, wfault.Of(err), wfault.After(err))
			}
			if errors.Is(err, inbound.ErrSessionOver) != strings.Contains(tc.text, "Expired") {
				t.Errorf("list: %v", err)
			}
			if p := providertest.Page(t, src, nil); len(p.Items) != 1 {
				t.Errorf("%d items in the end", len(p.Items))
			}
		})
	}
}

// TestOneSessionAtATime: another program that is in the mailbox is waited for.
func TestOneSessionAtATime(t *testing.T) {
	w := newWorld(t)
	w.deliver(t, letter(1))
	other := w.source(t, w.settings(t))
	providertest.Page(t, other, nil)
	src := w.source(t, w.settings(t))
	_, err := src.List(t.Context(), nil, 10)
	mustFail(t, err, wfault.Temporary, "IN_USE")
	other.Yield()
	if p := providertest.Page(t, src, nil); len(p.Items) != 1 {
		t.Errorf("%d items once the other one has left", len(p.Items))
	}
}

func TestASessionEndsBeforeItsToken(t *testing.T) {
	w := newWorld(t)
	w.Live(3 * time.Second) // a second of it is margin
	w.deliver(t, letter(1))
	src := w.source(t, w.settings(t))
	id := providertest.Page(t, src, nil).Items[0].ID
	for deadline := time.Now().Add(time.Minute); w.Broker.Minted() < 2; {
		if providertest.Read(t, src, id); time.Now().After(deadline) {
			t.Fatal("the session is still used with a token whose time is up")
		}
	}
}

func TestACutMessageIsNoWholeOne(t *testing.T) {
	w := newWorld(t)
	big := append(letter(1), bytes.Repeat([]byte("0123456789\r\n"), 50_000)...)
	w.deliver(t, big)
	src := w.source(t, w.settings(t))
	id := providertest.Page(t, src, nil).Items[0].ID
	for _, bytes := range []int{0, 1, 5000, 300_000} {
		rule := w.Fault(fault.Rule{Step: "retr", Action: fault.Cut, Bytes: bytes, Count: 1})
		r, err := open(t, src, id)
		if err == nil {
			_, err = io.Copy(io.Discard, r)
			_ = r.Close()
		}
		if err == nil || w.Sandbox.Faults().Fired(rule) != 1 {
			t.Errorf("cut after %d bytes: %v", bytes, err)
		}
	}
	r, err := open(t, src, id)
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil || !slices.Equal(got, big) {
		t.Errorf("read %d bytes in the end, want %d: %v", len(got), len(big), err)
	}
}

// TestALongRestIsNotRead: a session is broken off rather than that.
func TestALongRestIsNotRead(t *testing.T) {
	w := newWorld(t)
	w.Mailbox = gmail // messages are asked ahead
	long := append(letter(1), bytes.Repeat([]byte("0123456789\r\n"), 2_000_000)...)
	w.deliver(t, long)
	w.deliver(t, letter(2))
	src := w.source(t, w.settings(t))
	p := providertest.Page(t, src, nil)
	for _, id := range providertest.IDs(p) {
		r, err := open(t, src, id)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(r, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Errorf("a read after Close: %v", err)
		}
	}
	if n := w.Sandbox.Stats().GmailPOP3.Logins; n != 2 {
		t.Errorf("%d sessions, want 2", n)
	}
}

// open opens a message, and waits while the server still takes the session before for alive.
func open(t *testing.T, src *pop3.Source, id string) (r io.ReadCloser, err error) {
	t.Helper()
	err = patiently(func() error {
		r, err = src.Open(t.Context(), id)
		return err
	})
	return r, err
}

func TestAStalledServerIsLeft(t *testing.T) {
	for _, step := range []string{"connect", "auth", "uidl", "list"} {
		t.Run(step, func(t *testing.T) {
			w := newWorld(t)
			w.deliver(t, letter(1))
			rule := w.Fault(fault.Rule{Step: step, Action: fault.Stall, Count: 1})
			s := w.settings(t)
			s.Endpoint.ProtocolTimeout = 300 * time.Millisecond
			hasty := w.source(t, s)
			if _, err := hasty.List(t.Context(), nil, 10); err == nil || wfault.Of(err) != wfault.Temporary || w.Sandbox.Faults().Fired(rule) == 0 {
				t.Errorf("list: %v, want a temporary error", err)
			}
			src := w.source(t, w.settings(t))
			var p inbound.Page
			err := patiently(func() (err error) {
				p, err = src.List(t.Context(), nil, 10)
				return err
			})
			if err != nil || len(p.Items) != 1 {
				t.Errorf("%d items in the end, %v", len(p.Items), err)
			}
		})
	}
}

func TestAContextEndsAStalledCall(t *testing.T) {
	w := newWorld(t)
	rule := w.Fault(fault.Rule{Step: "uidl", Action: fault.Stall})
	src := w.source(t, w.settings(t))
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

func TestBadSettingsAreAllNamed(t *testing.T) {
	_, err := pop3.New(pop3.Config{Folder: "Sent", Settings: tokenclient.Settings{Mailbox: support, Inbound: tokenclient.InboundSettings{
		After: tokenclient.Move, FailedFolder: "Bad", Junk: tokenclient.JunkCount}}})
	for _, want := range []string{support, "server", "pop-connection-security", "mechanism", "disposition move", "failed-items-folder-name", "folder-path", "junk count", "broker"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not name %s", err, want)
		}
	}
}

func TestWhatPOP3CannotDoIsRefused(t *testing.T) {
	w := newWorld(t)
	for name, tc := range map[string]struct {
		change func(*pop3.Config)
		want   string
	}{
		"mark-read":   {func(c *pop3.Config) { c.Settings.Inbound.After = tokenclient.MarkRead }, "no flags"},
		"junk, read":  {func(c *pop3.Config) { c.Settings.Inbound.Junk = tokenclient.JunkRead }, "junk folder"},
		"junk folder": {func(c *pop3.Config) { c.Folder = inbound.JunkFolder }, "no folders"},
		"two folders": {func(c *pop3.Config) { c.Settings.Inbound.Folders = []string{"INBOX", "Sent"} }, "no folders"},
	} {
		c := pop3.Config{Settings: w.settings(t), Folder: "Inbox", Broker: w.Client}
		if _, err := pop3.New(c); err != nil {
			t.Fatal(err)
		}
		tc.change(&c)
		if _, err := pop3.New(c); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

func TestSTLS(t *testing.T) {
	w := newWorldWith(t, func(c *sandbox.Config) { c.POP3Security = pop3d.StartTLS })
	w.deliver(t, letter(1))
	s := w.settings(t)
	s.Endpoint.Security = tokenclient.StartTLS
	src := w.source(t, s)
	if got := providertest.Read(t, src, providertest.Page(t, src, nil).Items[0].ID); !bytes.Equal(got, letter(1)) {
		t.Errorf("read %q", got)
	}
}
