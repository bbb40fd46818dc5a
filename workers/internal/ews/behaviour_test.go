package ews_test

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
	sandboxfault "mailporter/sandbox/fault"
	"mailporter/sandbox/idp"
	"mailporter/workers/internal/ews"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/providertest"
)

// TestAnswers: what the server says becomes a kind, a reason and what to do.
func TestAnswers(t *testing.T) {
	for name, tc := range map[string]struct {
		rule   sandboxfault.Rule
		kind   fault.Kind
		after  time.Duration
		reason string
		text   string
	}{
		"busy":               {sandboxfault.Rule{Text: "ErrorServerBusy", RetryAfter: 297 * time.Second}, fault.Throttled, 297 * time.Second, "ErrorServerBusy", "so"},
		"busy, no time":      {sandboxfault.Rule{Text: "ErrorServerBusy"}, fault.Throttled, 30 * time.Second, "ErrorServerBusy", ""},
		"moving":             {sandboxfault.Rule{Text: "ErrorMailboxMoveInProgress"}, fault.Throttled, 5 * time.Minute, "", ""},
		"denied":             {sandboxfault.Rule{Text: "ErrorImpersonateUserDenied"}, fault.Temporary, 0, "ErrorImpersonateUserDenied", "full_access_as_app"},
		"nobody":             {sandboxfault.Rule{Text: "ErrorNonExistentMailbox"}, fault.Temporary, 0, "ErrorNonExistentMailbox", "primary SMTP address"},
		"licence":            {sandboxfault.Rule{Text: "ErrorInvalidLicense"}, fault.Temporary, 0, "ErrorInvalidLicense", "administrator"},
		"lost":               {sandboxfault.Rule{Text: "ErrorInvalidSyncStateData"}, fault.CursorLost, 0, "", ""},
		"no folder":          {sandboxfault.Rule{Text: "ErrorSyncFolderNotFound"}, fault.Gone, 0, "", "folder-path"},
		"of tomorrow":        {sandboxfault.Rule{Text: "ErrorOfTomorrow"}, fault.Temporary, 0, "ErrorOfTomorrow", ""},
		"retired":            {sandboxfault.Rule{Status: 403}, fault.Temporary, 0, "EWS_DISABLED", "2027-04-01"},
		"queueing":           {sandboxfault.Rule{Status: 503, RetryAfter: 5 * time.Second}, fault.Throttled, 5 * time.Second, "SERVER_UNAVAILABLE", "503"},
		"too many":           {sandboxfault.Rule{Status: 429}, fault.Throttled, 30 * time.Second, "SERVER_THROTTLED", ""},
		"blocked":            {sandboxfault.Rule{Status: 456}, fault.Temporary, 0, "ACCOUNT_BLOCKED", "administrator"},
		"an error page":      {sandboxfault.Rule{Status: 302, Header: map[string]string{"Location": "https://elsewhere.example"}}, fault.Temporary, 0, "", "302"},
		"a gateway's":        {sandboxfault.Rule{Status: 500, Body: "<html><br>" + strings.Repeat("x", 1<<20)}, fault.Temporary, 0, "", "500"},
		"no XML":             {sandboxfault.Rule{Status: 200, Body: "MARKER"}, fault.Temporary, 0, "", "no XML"},
		"about nothing":      {sandboxfault.Rule{Status: 200, Body: "<Envelope><Body><A/></Body></Envelope>"}, fault.Temporary, 0, "", "nothing"},
		"endless":            {sandboxfault.Rule{Status: 200, Body: "<Envelope>" + strings.Repeat(" ", 5<<20)}, fault.Temporary, 0, "", "more than"},
		"no state":           {sandboxfault.Rule{Status: 200, Body: `<Envelope><Body><A><ResponseMessages><M ResponseClass="Success"><ResponseCode>NoError</ResponseCode></M></ResponseMessages></A></Body></Envelope>`}, fault.Temporary, 0, "", "SyncState"},
		"characters of old":  {sandboxfault.Rule{Status: 500, Body: `<Envelope><Body><Fault><detail><ResponseCode>ErrorServerBusy</ResponseCode><Message>a&#x0B;b</Message></detail></Fault></Body></Envelope>`}, fault.Throttled, 30 * time.Second, "ErrorServerBusy", "ab"},
		"wrapped throttling": {sandboxfault.Rule{Status: 200, Body: `<Envelope><Body><A><ResponseMessages><M ResponseClass="Error"><ResponseCode>ErrorInternalServerError</ResponseCode><MessageXml><Value Name="BackOffMilliseconds">1000</Value></MessageXml></M></ResponseMessages></A></Body></Envelope>`}, fault.Throttled, time.Second, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.source(t, w.settings(t), "INBOX")
			tc.rule.Step, tc.rule.Action = "sync", sandboxfault.Reply
			w.Fault(tc.rule)
			_, err := s.List(t.Context(), nil, 10)
			var e *fault.Error
			if err == nil || fault.Of(err) != tc.kind || fault.After(err) != tc.after || tc.reason != "" && (!errors.As(err, &e) || e.Reason != tc.reason) {
				t.Fatalf("%v (%s, after %v), want %s %s after %v", err, fault.Of(err), fault.After(err), tc.kind, tc.reason, tc.after)
			}
			if text := err.Error(); !strings.Contains(text, tc.text) || strings.Contains(text, "MARKER") || len(text) > 1000 {
				t.Errorf("%.1200s\nwant %q in it", text, tc.text)
			}
		})
	}
}

// TestWhoAsks: an application impersonates, a user does not, and a password is for servers on premises.
func TestWhoAsks(t *testing.T) {
	for name, tc := range map[string]struct {
		claims idp.Claims
		change func(*tokenclient.Endpoint)
		want   string // part of the error; empty = works
	}{
		"application":                        {idp.Claims{Client: "app", Roles: []string{"full_access_as_app"}}, func(*tokenclient.Endpoint) {}, ""},
		"application without impersonation":  {idp.Claims{Client: "app", Roles: []string{"full_access_as_app"}}, func(e *tokenclient.Endpoint) { e.Impersonate = false }, "ErrorInvalidLogonType"},
		"application without the permission": {idp.Claims{Client: "app", Roles: []string{"IMAP.AccessAsApp"}}, func(*tokenclient.Endpoint) {}, "ErrorAccessDenied"},
		"user":                               {idp.Claims{Client: "app", User: support, Scopes: []string{"EWS.AccessAsUser.All"}}, func(e *tokenclient.Endpoint) { e.Impersonate = false }, ""},
		"user who impersonates":              {idp.Claims{Client: "app", User: support, Scopes: []string{"EWS.AccessAsUser.All"}}, func(*tokenclient.Endpoint) {}, "ErrorImpersonateUserDenied"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.Broker.OnMint(func(tokenclient.Ask) (string, time.Time, error) {
				c := tc.claims
				c.Tenant, c.Audience = tenant, idp.Outlook365
				token, _, err := w.Sandbox.Issuer().Access(c)
				return token, time.Now().Add(time.Hour), err
			})
			s := w.settings(t)
			tc.change(&s.Endpoint)
			_, err := w.source(t, s, "INBOX").List(t.Context(), nil, 10)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}

func TestPassword(t *testing.T) {
	w := newWorld(t)
	w.Broker.OnMint(func(tokenclient.Ask) (string, time.Time, error) { return providertest.Password, time.Time{}, nil })
	s := w.settings(t)
	s.Endpoint.Mechanism, s.Endpoint.Impersonate = tokenclient.Basic, false
	w.Deliver(t, "INBOX", letter(1))
	src := w.source(t, s, "INBOX")
	if got := providertest.Read(t, src, providertest.List(t, src)[0].ID); !bytes.Equal(got, letter(1)) {
		t.Errorf("%q", got)
	}
	w.Fault(sandboxfault.Rule{Action: sandboxfault.RefuseToken})
	_, err := src.List(t.Context(), nil, 10)
	if fault.Of(err) != fault.Auth || strings.Contains(err.Error(), providertest.Password) {
		t.Errorf("a refused password: %v", err)
	}
}

// TestSwitchedOff is the retirement of EWS.
func TestSwitchedOff(t *testing.T) {
	w := newWorldWith(t, func(c *sandbox.Config) { c.Tenants[0].Users[0].EWSDisabled = true })
	_, err := w.source(t, w.settings(t), "INBOX").List(t.Context(), nil, 10)
	if fault.Of(err) != fault.Temporary || !strings.Contains(err.Error(), "EwsAllowedAppIDs") || !strings.Contains(err.Error(), "GRAPH") {
		t.Errorf("%v", err)
	}
}

// TestCutContent: half a message is never taken for a whole one.
func TestCutContent(t *testing.T) {
	w := newWorld(t)
	raw := slices.Concat(letter(1), bytes.Repeat([]byte("0123456789\r\n"), 60_000))
	w.Deliver(t, "INBOX", raw)
	s := w.source(t, w.settings(t), "INBOX")
	for _, n := range []int{0, 1, 500, 256 << 10, 500_000, 960_300} {
		w.Fault(sandboxfault.Rule{Step: "value", Action: sandboxfault.Cut, Bytes: n, Count: 1})
		r, err := s.Open(t.Context(), providertest.List(t, s)[0].ID)
		if err == nil {
			_, err = io.Copy(io.Discard, r)
			_ = r.Close()
		}
		if err == nil {
			t.Errorf("cut after %d bytes, and nobody was told", n)
		}
	}
	if got := providertest.Read(t, s, providertest.List(t, s)[0].ID); !bytes.Equal(got, raw) {
		t.Error("the whole message is another one")
	}
}

// TestReadAhead: at most four requests at a time.
func TestReadAhead(t *testing.T) {
	w := newWorld(t)
	const n = 30
	for i := range n {
		w.Deliver(t, "INBOX", letter(i))
	}
	w.Fault(sandboxfault.Rule{Step: "value", Action: sandboxfault.Delay, Delay: 10 * time.Millisecond})
	s := w.source(t, w.settings(t), "INBOX")
	for _, it := range providertest.List(t, s) {
		providertest.Read(t, s, it.ID)
	}
	if st := w.Sandbox.Stats().EWS; st.Throttled != 0 || st.Peak[support] > 4 || st.Peak[support] < 2 {
		t.Errorf("%d requests were refused, at most %d ran at a time", st.Throttled, st.Peak[support])
	}
}

// TestFolders: paths of display names, made where they are missing.
func TestFolders(t *testing.T) {
	w := newWorld(t)
	s := w.settings(t)
	s.Inbound.After, s.Inbound.AfterFolder, s.Inbound.FailedFolder = tokenclient.Move, `Bob's <&>/Größe`, "INBOX/Failed"
	w.Deliver(t, "INBOX", letter(1))
	w.Deliver(t, "INBOX", letter(2))
	src := w.source(t, s, "INBOX")
	items := providertest.List(t, src)
	if err := src.Settle(t.Context(), []string{items[0].ID}); err != nil {
		t.Fatal(err)
	}
	if moved, err := src.SetAside(t.Context(), items[1].ID); err != nil || !moved {
		t.Fatal(moved, err)
	}
	for folder, want := range map[string]int{"INBOX": 0, `Bob's <&>/Größe`: 1, "INBOX/Failed": 1} {
		if got := len(w.Holds(t, folder)); got != want {
			t.Errorf("%s holds %d messages, want %d", folder, got, want)
		}
	}
	_, err := w.source(t, w.settings(t), "Nowhere").List(t.Context(), nil, 10)
	if fault.Of(err) != fault.Gone || !strings.Contains(err.Error(), "folder-path") {
		t.Errorf("a folder that is not there: %v", err)
	}
}

// TestFolderVanishes: the folder for settled messages is removed while the worker runs.
func TestFolderVanishes(t *testing.T) {
	w := newWorld(t)
	s := w.settings(t)
	s.Inbound.After, s.Inbound.AfterFolder = tokenclient.Move, "Done"
	src := w.source(t, s, "INBOX")
	for i := range 2 {
		w.Deliver(t, "INBOX", letter(i))
		ids := []string{providertest.List(t, src)[0].ID}
		if err := src.Settle(t.Context(), ids); err != nil { // the first time the folder is still remembered
			if err = src.Settle(t.Context(), ids); err != nil {
				t.Fatal(err)
			}
		}
		if n := len(w.Holds(t, "INBOX")); n != 0 {
			t.Fatalf("%d messages were left", n)
		}
		if err := w.Sandbox.Store().DropFolder(support, "Done"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestJunk(t *testing.T) {
	w := newWorld(t)
	src := w.source(t, w.settings(t), "INBOX")
	if n, oldest, err := src.CountJunk(t.Context()); n != 0 || !oldest.IsZero() || err != nil {
		t.Errorf("%d since %v, %v", n, oldest, err)
	}
	w.Deliver(t, "Junk Email", letter(1))
	w.Deliver(t, "Junk Email", letter(2))
	n, oldest, err := src.CountJunk(t.Context())
	if n != 2 || !oldest.Equal(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)) || err != nil {
		t.Errorf("%d since %v, %v", n, oldest, err)
	}
	if got := providertest.List(t, w.source(t, w.settings(t), inbound.JunkFolder)); len(got) != 2 {
		t.Errorf("%d messages of the junk folder", len(got))
	}
}

// TestMarkRead: many are marked in batches, and are not listed again.
func TestMarkRead(t *testing.T) {
	w := newWorld(t)
	s := w.settings(t)
	s.Inbound.After = tokenclient.MarkRead
	for i := range 23 {
		w.Deliver(t, "INBOX", letter(i))
	}
	src := w.source(t, s, "INBOX")
	p, err := src.List(t.Context(), nil, 100)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, it := range p.Items {
		ids = append(ids, it.ID)
	}
	if err := src.Settle(t.Context(), ids); err != nil {
		t.Fatal(err)
	}
	for _, m := range w.Folder(t, "INBOX").Messages {
		if !m.Has(`\Seen`) {
			t.Error("a message is not marked")
		}
	}
	if p, err = src.List(t.Context(), p.Next, 100); err != nil || len(p.Items) != 0 {
		t.Errorf("%d items again, %v", len(p.Items), err)
	}
}

// wait calls Wait until it has a subscription, and then once more in the background.
func wait(t *testing.T, w *world, s *ews.Source, limit time.Duration) <-chan error {
	t.Helper()
	if err := s.Wait(t.Context(), limit); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Wait(t.Context(), limit) }()
	streams(t, w, 1)
	return done
}

// streams waits until so many streams of events are open.
func streams(t *testing.T, w *world, n int) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(time.Minute)
	for w.Sandbox.Stats().EWS.Streams != n {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%d streams are open, want %d", w.Sandbox.Stats().EWS.Streams, n)
		}
	}
}

// TestEvents: new mail ends the wait, as often as it comes; the limit does too.
func TestEvents(t *testing.T) {
	w := newWorld(t)
	s := w.source(t, w.settings(t), "INBOX")
	for i := range 3 {
		done := wait(t, w, s, time.Minute)
		w.Deliver(t, "INBOX", letter(i))
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		streams(t, w, 0)
		if err := s.Close(); err != nil { // another subscription for the next round
			t.Fatal(err)
		}
	}
	if err := <-wait(t, w, s, 50*time.Millisecond); err != nil {
		t.Errorf("after the limit: %v", err)
	}
}

// TestEventsCancelled: the wait ends with its context.
func TestEventsCancelled(t *testing.T) {
	w := newWorld(t)
	s := w.source(t, w.settings(t), "INBOX")
	if err := s.Wait(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Wait(ctx, time.Minute) }()
	streams(t, w, 1)
	cancel()
	if err := <-done; err == nil {
		t.Error("a cancelled wait said yes")
	}
}

// TestSubscriptionLost: the server forgot it; the folder is looked at, and another one is made.
func TestSubscriptionLost(t *testing.T) {
	w := newWorld(t)
	s := w.source(t, w.settings(t), "INBOX")
	if err := s.Wait(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	w.Fault(sandboxfault.Rule{Step: "events", Action: sandboxfault.Forget, Count: 1})
	if err := s.Wait(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	done := wait(t, w, s, time.Minute)
	w.Deliver(t, "INBOX", letter(1))
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestValidate(t *testing.T) {
	w := newWorld(t)
	good := w.settings(t)
	for name, tc := range map[string]struct {
		change func(*tokenclient.Settings)
		want   string
	}{
		"no host":     {func(s *tokenclient.Settings) { s.Endpoint.Server = "" }, "outlook.office365.com"},
		"clear text":  {func(s *tokenclient.Settings) { s.Endpoint.Security = tokenclient.PlainText }, "ssl-tls only"},
		"no login":    {func(s *tokenclient.Settings) { s.Endpoint.Mechanism = tokenclient.NoLogin }, "access tokens"},
		"move here":   {func(s *tokenclient.Settings) { s.Inbound.After, s.Inbound.AfterFolder = tokenclient.Move, "INBOX" }, "another folder"},
		"failed here": {func(s *tokenclient.Settings) { s.Inbound.FailedFolder = "Inbox" }, "another folder"},
	} {
		s := good
		tc.change(&s)
		if _, err := ews.New(ews.Config{Settings: s, Folder: "INBOX", Broker: w.Client}); err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), support) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}
