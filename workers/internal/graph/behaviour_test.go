package graph_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/sandbox"
	sandboxfault "mailporter/sandbox/fault"
	"mailporter/sandbox/mailstore"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/graph"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/providertest"
)

// TestAnswers: what the server says becomes a kind, a reason and what to do.
func TestAnswers(t *testing.T) {
	code := func(c string) string { return `{"error":{"code":"` + c + `","message":"So it is."}}` }
	for name, tc := range map[string]struct {
		rule   sandboxfault.Rule
		kind   fault.Kind
		after  time.Duration
		reason string
		text   string
	}{
		"throttled":           {sandboxfault.Rule{Status: 429, Body: code("ApplicationThrottled"), RetryAfter: 7 * time.Second}, fault.Throttled, 7 * time.Second, "SERVER_THROTTLED", "So it is."},
		"throttled, fraction": {sandboxfault.Rule{Status: 429, Header: map[string]string{"Retry-After": "2.5"}}, fault.Throttled, 2500 * time.Millisecond, "SERVER_THROTTLED", "429"},
		"throttled, no time":  {sandboxfault.Rule{Status: 429}, fault.Throttled, 10 * time.Second, "SERVER_THROTTLED", "429"},
		"away":                {sandboxfault.Rule{Status: 503, Body: "<html>no</html>"}, fault.Throttled, 10 * time.Second, "SERVER_UNAVAILABLE", "503"},
		"away for long":       {sandboxfault.Rule{Status: 504, RetryAfter: time.Minute}, fault.Throttled, time.Minute, "", "504"},
		"gateway":             {sandboxfault.Rule{Status: 502, Body: "<html>" + strings.Repeat("x", 1<<20)}, fault.Temporary, 0, "", "502"},
		"broken":              {sandboxfault.Rule{Status: 500, Body: code("ErrorInternalServerError")}, fault.Temporary, 0, "", "ErrorInternalServerError"},
		"moving":              {sandboxfault.Rule{Status: 503, Body: code("ErrorMailboxMoveInProgress")}, fault.Throttled, 5 * time.Minute, "MAILBOX_MOVES", ""},
		"denied":              {sandboxfault.Rule{Status: 403, Body: code("ErrorAccessDenied")}, fault.Temporary, 0, "ACCESS_DENIED", "Mail.ReadWrite"},
		"blocked":             {sandboxfault.Rule{Status: 403, Body: code("ErrorAccountSuspend")}, fault.Temporary, 0, "ACCOUNT_BLOCKED", "spam"},
		"no licence":          {sandboxfault.Rule{Status: 404, Body: code("MailboxNotEnabledForRESTAPI")}, fault.Temporary, 0, "NO_MAILBOX", "licence"},
		"nobody":              {sandboxfault.Rule{Status: 404, Body: code("ErrorInvalidUser")}, fault.Temporary, 0, "NO_SUCH_USER", "object id"},
		"nested code":         {sandboxfault.Rule{Status: 400, Body: `{"error":{"code":"BadRequest","innerError":{"code":"ResyncRequired"}}}`}, fault.CursorLost, 0, "", ""},
		"gone":                {sandboxfault.Rule{Status: 410}, fault.CursorLost, 0, "", ""},
		"not here":            {sandboxfault.Rule{Status: 501}, fault.Temporary, 0, "NOT_IN_THIS_CLOUD", "IMAP"},
		"no JSON":             {sandboxfault.Rule{Status: 200, Body: "<html>MARKER</html>"}, fault.Temporary, 0, "", "no JSON"},
		"no link":             {sandboxfault.Rule{Status: 200, Body: `{"value":[]}`}, fault.Temporary, 0, "", "no link"},
		"a link elsewhere":    {sandboxfault.Rule{Status: 200, Body: `{"value":[],"@odata.nextLink":"https://elsewhere.example/v1.0/x"}`}, fault.Temporary, 0, "", "another host"},
		"a link in the clear": {sandboxfault.Rule{Status: 200, Body: `{"value":[],"@odata.nextLink":"http://localhost/v1.0/x"}`}, fault.Temporary, 0, "", "another host"},
		"redirected":          {sandboxfault.Rule{Status: 307, Header: map[string]string{"Location": "https://elsewhere.example/"}}, fault.Temporary, 0, "", "307"},
		"endless":             {sandboxfault.Rule{Status: 200, Body: `{"value":[` + strings.Repeat(" ", 5<<20)}, fault.Temporary, 0, "", "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := w.source(t, w.settings(t), "INBOX")
			tc.rule.Step, tc.rule.Action = "delta", sandboxfault.Reply
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

// TestChallenge: a revoked token is reported with what the server wants of the next one.
func TestChallenge(t *testing.T) {
	w := newWorld(t)
	s := w.source(t, w.settings(t), "INBOX")
	if len(providertest.List(t, s)) != 0 {
		t.Fatal("the folder is not empty")
	}
	if err := w.Sandbox.Issuer().RevokeToken(w.Secrets()[0]); err != nil {
		t.Fatal(err)
	}
	providertest.List(t, s) // with another token
	got := w.Broker.Rejections()
	if len(got) != 1 || got[0].Refusal.Kind != tokenclient.RefusedByClaims || !strings.HasPrefix(got[0].Refusal.Server, "localhost:") ||
		!strings.Contains(got[0].Refusal.Reply, "InvalidAuthenticationToken") {
		t.Errorf("reported: %+v", got)
	}
}

// TestCutContent: half a message is never taken for a whole one, wherever it is cut.
func TestCutContent(t *testing.T) {
	w := newWorld(t)
	raw := slices.Concat(letter(1), bytes.Repeat([]byte("0123456789\r\n"), 60_000))
	w.Deliver(t, "INBOX", raw)
	s := w.source(t, w.settings(t), "INBOX")
	for _, n := range []int{0, 1, 100, 256 << 10, 300_000, len(raw) - 1} {
		w.Fault(sandboxfault.Rule{Step: "value", Action: sandboxfault.Cut, Bytes: n, Count: 1})
		r, err := s.Open(t.Context(), providertest.List(t, s)[0].ID)
		if err == nil {
			_, err = io.Copy(io.Discard, r)
			_ = r.Close()
		}
		if err == nil {
			t.Errorf("cut after %d bytes of %d, and nobody was told", n, len(raw))
		}
	}
	if got := providertest.Read(t, s, providertest.List(t, s)[0].ID); !bytes.Equal(got, raw) {
		t.Error("the whole message is another one")
	}
}

// TestSilentContent: a server that stops in the middle of a message is left.
func TestSilentServer(t *testing.T) {
	w := newWorld(t)
	w.Deliver(t, "INBOX", letter(1))
	settings := w.settings(t)
	settings.Endpoint.ProtocolTimeout = 100 * time.Millisecond
	s := w.source(t, settings, "INBOX")
	w.Fault(sandboxfault.Rule{Step: "value", Action: sandboxfault.Stall})
	_, err := s.Open(t.Context(), providertest.List(t, s)[0].ID)
	if err == nil || fault.Of(err) != fault.Temporary {
		t.Errorf("silence is %v", err)
	}
}

// TestReadAhead: many messages come in their order over at most four requests at a time, none is refused, and what was
// passed over is given up.
func TestReadAhead(t *testing.T) {
	w := newWorld(t)
	const n = 40
	for i := range n {
		w.Deliver(t, "INBOX", letter(i))
	}
	w.Fault(sandboxfault.Rule{Step: "value", Action: sandboxfault.Delay, Delay: 10 * time.Millisecond})
	s := w.source(t, w.settings(t), "INBOX")
	got := map[string]bool{}
	for i, it := range providertest.List(t, s) {
		if i%7 != 3 {
			got[string(providertest.Read(t, s, it.ID))] = true
		}
	}
	if len(got) < n*6/7-1 {
		t.Errorf("%d messages", len(got))
	}
	st := w.Sandbox.Stats().Graph
	if st.Throttled != 0 || st.Peak[support] > 4 || st.Peak[support] < 2 {
		t.Errorf("%d requests were refused, at most %d ran at a time", st.Throttled, st.Peak[support])
	}
}

// TestFolders: paths of display names, made where they are missing, apostrophes and all.
func TestFolders(t *testing.T) {
	w := newWorld(t)
	s := w.settings(t)
	s.Inbound.After, s.Inbound.AfterFolder, s.Inbound.FailedFolder = tokenclient.Move, "Bob's/Größe", "INBOX/Failed"
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
	for folder, want := range map[string]int{"INBOX": 0, "Bob's/Größe": 1, "INBOX/Failed": 1} {
		if got := len(w.Holds(t, folder)); got != want {
			t.Errorf("%s holds %d messages, want %d", folder, got, want)
		}
	}
	moved := providertest.List(t, w.source(t, w.settings(t), "Bob's/Größe"))
	if len(moved) != 1 || moved[0].Key != items[0].Key {
		t.Errorf("the moved message is %v, want the key %s", moved, items[0].Key)
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

// TestMarkRead: a message that was read is not listed again.
func TestMarkRead(t *testing.T) {
	w := newWorld(t)
	s := w.settings(t)
	s.Inbound.After = tokenclient.MarkRead
	w.Deliver(t, "INBOX", letter(1))
	src := w.source(t, s, "INBOX")
	p, err := src.List(t.Context(), nil, 10)
	if err != nil {
		t.Fatal(err)
	}
	if err := src.Settle(t.Context(), []string{p.Items[0].ID}); err != nil {
		t.Fatal(err)
	}
	if !w.Folder(t, "INBOX").Messages[0].Has(`\Seen`) {
		t.Error("the message is not marked")
	}
	if p, err = src.List(t.Context(), p.Next, 10); err != nil || len(p.Items) != 0 {
		t.Errorf("%d items again, %v", len(p.Items), err)
	}
}

// TestMovedIn: with delta a message that a person moves into the folder is seen, however old it is; so it is without
// delta where settled messages leave the folder.
func TestMovedIn(t *testing.T) {
	for name, without := range map[string]bool{"delta": false, "no delta": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorldWith(t, func(c *sandbox.Config) { c.NoGraphDelta = without })
			s := w.settings(t)
			s.Inbound.After = tokenclient.Delete
			w.Deliver(t, "INBOX", letter(1))
			src := w.source(t, s, "INBOX")
			p, err := src.List(t.Context(), nil, 10)
			if err != nil {
				t.Fatal(err)
			}
			if err := src.Settle(t.Context(), []string{p.Items[0].ID}); err != nil {
				t.Fatal(err)
			}
			old := mailstore.Target{Mailbox: support, Folder: "Archive", Received: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)}
			uids, err := w.Sandbox.Store().Deliver(letter(2), []mailstore.Target{old}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Sandbox.Store().Move(support, "Archive", uids, "INBOX"); err != nil {
				t.Fatal(err)
			}
			if p, err = src.List(t.Context(), p.Next, 10); err != nil || len(p.Items) != 1 {
				t.Fatalf("%d items, %v", len(p.Items), err)
			}
			if got := providertest.Read(t, src, p.Items[0].ID); !bytes.Equal(got, letter(2)) {
				t.Errorf("%q", got)
			}
		})
	}
}

// TestManyInOneSecond: without delta, more messages of one second than a page holds are all seen, once.
func TestManyInOneSecond(t *testing.T) {
	w := newWorldWith(t, func(c *sandbox.Config) { c.NoGraphDelta = true })
	const n = 25
	for i := range n {
		w.Deliver(t, "INBOX", letter(i))
	}
	src := w.source(t, w.settings(t), "INBOX")
	var at inbound.Cursor
	seen := map[string]int{}
	for more := true; more; {
		p, err := src.List(t.Context(), at, 4)
		if err != nil {
			t.Fatal(err)
		}
		for _, it := range p.Items {
			seen[it.Key]++
		}
		at, more = p.Next, p.More
	}
	if len(seen) != n {
		t.Errorf("%d messages, want %d", len(seen), n)
	}
	if p, err := src.List(t.Context(), at, 4); err != nil || len(p.Items) != 0 {
		t.Errorf("again: %d items, %v", len(p.Items), err)
	}
}

func TestValidate(t *testing.T) {
	w := newWorld(t)
	good := w.settings(t)
	for name, tc := range map[string]struct {
		change func(*tokenclient.Settings)
		want   string
	}{
		"no host":     {func(s *tokenclient.Settings) { s.Endpoint.Server = "" }, "graph.microsoft.com"},
		"clear text":  {func(s *tokenclient.Settings) { s.Endpoint.Security = tokenclient.PlainText }, "ssl-tls only"},
		"a password":  {func(s *tokenclient.Settings) { s.Endpoint.Mechanism = tokenclient.Basic }, "access tokens only"},
		"move here":   {func(s *tokenclient.Settings) { s.Inbound.After, s.Inbound.AfterFolder = tokenclient.Move, "INBOX" }, "another folder"},
		"failed here": {func(s *tokenclient.Settings) { s.Inbound.FailedFolder = "Inbox" }, "another folder"},
	} {
		s := good
		tc.change(&s)
		if _, err := graph.New(graph.Config{Settings: s, Folder: "INBOX", Broker: w.Client}); err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), support) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
	if _, err := graph.New(graph.Config{Settings: good}); err == nil || !strings.Contains(err.Error(), "no broker") {
		t.Errorf("no broker: %v", err)
	}
}
