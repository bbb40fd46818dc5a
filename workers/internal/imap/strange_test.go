package imap_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"mailporter/kit/tokenclient"
	wfault "mailporter/workers/internal/fault"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/providertest"
)

// unasked is what a server may say at any time (RFC 3501 section 5.2).
const unasked = "* 2 FETCH (FLAGS (\\Seen))\r\n* 9 EXISTS\r\n* 3 EXPUNGE\r\n* 0 RECENT\r\n* FLAGS (\\Seen)\r\n* OK [ALERT] soon down\r\n* 4 FETCH (UID 99 FLAGS ())\r\n"

// TestStrangeServers: what a server may say, and what some say though they may not, costs no message and alters none.
func TestStrangeServers(t *testing.T) {
	const list, open = "UID FETCH 7 (UID", "UID FETCH 7 (UID BODY.PEEK[])"
	headers := `BODY[HEADER.FIELDS ("Message-ID")] {%d}` + "\r\n%s"
	row := fmt.Sprintf(`UID 7 INTERNALDATE "01-Mar-2026 12:00:00 +0000" RFC822.SIZE %d `+headers, len(whole), len(header), header)
	body := fmt.Sprintf("BODY[] {%d}\r\n%s", len(whole), whole)
	for name, answers := range map[string]script{
		"unasked before":         {list: unasked + "* 1 FETCH (" + row + ")\r\nTAG OK done\r\n", open: unasked + "* 1 FETCH (UID 7 " + body + ")\r\nTAG OK done\r\n"},
		"its flags before":       {list: "* 1 FETCH (FLAGS (\\Seen) UID 7)\r\n* 1 FETCH (" + row + ")\r\nTAG OK done\r\n", open: "* 1 FETCH (UID 7 FLAGS ())\r\n* 1 FETCH (UID 7 " + body + ")\r\nTAG OK done\r\n"},
		"unasked behind":         {list: "* 1 FETCH (" + row + ")\r\n" + unasked + "TAG OK done\r\n", open: "* 1 FETCH (UID 7 " + body + ")\r\n" + unasked + "TAG OK done\r\n"},
		"other words around":     {open: "* 1 FETCH (FLAGS (\\Recent) UID 7 RFC822.SIZE 3 " + body + " FLAGS (\\Seen))\r\nTAG OK done\r\n"},
		"the UID twice":          {open: "* 1 FETCH (UID 7 " + body + " UID 7 FLAGS ())\r\nTAG OK done\r\n"},
		"another message too":    {open: "* 2 FETCH (UID 8 BODY[] {3}\r\nabc)\r\n* 1 FETCH (UID 7 " + body + ")\r\nTAG OK done\r\n"},
		"in two answers":         {list: "* 1 FETCH (" + row + ")\r\n* 1 FETCH (UID 7 FLAGS (\\Seen))\r\nTAG OK done\r\n"},
		"twice":                  {list: "* 1 FETCH (" + row + ")\r\n* 1 FETCH (" + row + ")\r\nTAG OK done\r\n"},
		"a size that is small":   {list: strings.Replace("* 1 FETCH ("+row+")\r\nTAG OK done\r\n", fmt.Sprintf("SIZE %d", len(whole)), "SIZE 1", 1)},
		"a size that is large":   {list: strings.Replace("* 1 FETCH ("+row+")\r\nTAG OK done\r\n", fmt.Sprintf("SIZE %d", len(whole)), "SIZE 4294967295", 1)},
		"a quoted body":          {open: "* 1 FETCH (UID 7 BODY[] \"" + "Message-ID: <a@b>\")\r\nTAG OK done\r\n"},
		"several SEARCH answers": {"UID SEARCH": "* SEARCH\r\n* SEARCH 7\r\n* SEARCH 7\r\nTAG OK done\r\n"},
		"UIDs below the range":   {"UID SEARCH": "* SEARCH 7 7\r\nTAG OK done\r\n"},
		"no UIDNEXT":             {"SELECT": "* 1 EXISTS\r\n* OK [UIDVALIDITY 3] x\r\nTAG OK done\r\n"},
		"answers of no kind":     {list: "* XYZZY {3}\r\nabc]\r\n* VANISHED 5\r\n* 1 FETCH (" + row + ")\r\nTAG OK done\r\n", "NOOP": "* LSUB () \"/\" x\r\nTAG OK done\r\n"},
		"a date that is none":    {list: strings.Replace("* 1 FETCH ("+row+")\r\nTAG OK done\r\n", "01-Mar-2026", "00-Jan-1900", 1)},
		"a date behind all":      {list: "* 1 FETCH (UID 7 RFC822.SIZE 1 " + fmt.Sprintf(headers, len(header), header) + " INTERNALDATE \"\")\r\nTAG OK done\r\n"},
		"a header without an ID": {list: "* 1 FETCH (" + strings.Replace(row, headersOf(header), headersOf("\r\n"), 1) + ")\r\nTAG OK done\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			all := inboxOf("")
			maps.Copy(all, answers)
			src, _ := play(t, all, same)
			p := providertest.Page(t, src, nil)
			if len(p.Items) != 1 || !strings.HasSuffix(p.Items[0].ID, ":7") {
				t.Fatalf("listed %+v", p.Items)
			}
			want := whole
			if name == "a quoted body" {
				want = "Message-ID: <a@b>"
			}
			if got := string(providertest.Read(t, src, p.Items[0].ID)); got != want {
				t.Errorf("read %q, want %q", got, want)
			}
			if p := providertest.Page(t, src, p.Next); len(p.Items) != 0 {
				t.Errorf("%d items behind the last", len(p.Items))
			}
		})
	}
}

// One folder whose name cannot be read hides no other.
func TestUnreadableNamesHideNothing(t *testing.T) {
	answers := inboxOf("MOVE")
	answers["LIST"] = "* LIST () \"/\" \"R&D\"\r\n* LIST () \"/\" \"Entw&APw-rfe\"\r\n* LIST () \"/\" Spam\r\nTAG OK done\r\n"
	answers["STATUS"] = "* STATUS Spam (MESSAGES 0 UIDNEXT 1)\r\nTAG OK done\r\n"
	src, server := play(t, answers, same)
	if _, _, err := src.CountJunk(t.Context()); err != nil {
		t.Error(err)
	}
	if got := server.commands("STATUS"); len(got) != 1 || !strings.HasPrefix(got[0], `STATUS "Spam" `) {
		t.Errorf("asked %q", got)
	}
}

func headersOf(h string) string { return fmt.Sprintf("{%d}\r\n%s", len(h), h) }

// TestAHugeAnswerToSEARCH: a server that does not tell UIDNEXT is asked for everything, once.
func TestAHugeAnswerToSEARCH(t *testing.T) {
	const n = 300_000
	var search strings.Builder
	search.WriteString("* SEARCH")
	for uid := range n {
		_, _ = fmt.Fprintf(&search, " %d", uid+7)
	}
	answers := inboxOf("")
	answers["SELECT"] = fmt.Sprintf("* %d EXISTS\r\n* OK [UIDVALIDITY 3] x\r\nTAG OK done\r\n", n)
	answers["UID SEARCH"] = search.String() + "\r\nTAG OK done\r\n"
	answers["UID FETCH 7:10 (UID"] = "TAG OK done\r\n" // they are gone
	src, server := play(t, answers, same)
	p, err := src.List(t.Context(), nil, 4)
	if err != nil || !p.More {
		t.Fatalf("more: %t, %v", p.More, err)
	}
	if got := server.commands("UID SEARCH"); len(got) != 1 {
		t.Errorf("asked %d times", len(got))
	}
	answers2 := server.commands("UID FETCH")
	if len(answers2) == 0 || !strings.HasPrefix(answers2[0], "UID FETCH 7:10 ") {
		t.Errorf("fetched %v, want the first four", answers2)
	}
}

// TestThrottling: whoever asks us to wait is given the time, wherever in a session, as an answer or as a goodbye.
func TestThrottling(t *testing.T) {
	replies := []struct {
		text   string
		after  time.Duration
		reason string
	}{
		{"Request is throttled. Suggested Backoff Time: 92415 milliseconds", 92415 * time.Millisecond, "SERVER_THROTTLED"},
		{"[ALERT] Too many simultaneous connections. (Failure)", 2 * time.Minute, "TOO_MANY_CONNECTIONS"},
		{"[OVERQUOTA] Account exceeded command or bandwidth limits. (Failure)", time.Hour, "BANDWIDTH_LIMIT"},
		{"[LIMIT] too many", time.Minute, "SERVER_LIMIT"},
	}
	for _, form := range []string{"TAG NO %s\r\n", "TAG BAD %s\r\n", "* BYE %s\r\n"} {
		for _, step := range []string{"greeting", "LOGIN", "SELECT", "NOOP", "UID SEARCH", "UID FETCH 7 (UID"} {
			for _, r := range replies {
				if step == "greeting" && form != "* BYE %s\r\n" {
					continue
				}
				t.Run(fmt.Sprintf("%s at %s", fmt.Sprintf(strings.TrimSpace(form), r.text), step), func(t *testing.T) {
					answers := inboxOf("")
					answers[step] = fmt.Sprintf(form, r.text)
					src, _ := play(t, answers, same)
					_, err := src.List(t.Context(), nil, 10)
					mustSay(t, err, wfault.Throttled, r.reason)
					if after := wfault.After(err); after != r.after {
						t.Errorf("wait %s, want %s", after, r.after)
					}
				})
			}
		}
	}
}

func mustSay(t *testing.T, err error, kind wfault.Kind, reason string) {
	t.Helper()
	var e *wfault.Error
	if !errors.As(err, &e) || e.Kind != kind || e.Reason != reason {
		t.Errorf("%v (%s), want %s, %s", err, wfault.Of(err), kind, reason)
	}
}

// TestGreetings: a server that lets nobody or everybody in is told with what to do, and the credential stays ours.
func TestGreetings(t *testing.T) {
	for name, tc := range map[string]struct {
		caps, greeting string
		security       tokenclient.Security
		reason         string
	}{
		"PREAUTH":                 {"", "* PREAUTH [CAPABILITY IMAP4rev1] you are root\r\n", tokenclient.PlainText, "PREAUTH"},
		"PREAUTH before STARTTLS": {"", "* PREAUTH [CAPABILITY IMAP4rev1 STARTTLS] you are root\r\n", tokenclient.StartTLS, "PREAUTH"},
		"BYE":                     {"", "* BYE [UNAVAILABLE] come back later\r\n", tokenclient.PlainText, "SERVER_UNAVAILABLE"},
		"BYE before STARTTLS":     {"", "* BYE [UNAVAILABLE] come back later\r\n", tokenclient.StartTLS, "SERVER_UNAVAILABLE"},
		"LOGINDISABLED":           {"LOGINDISABLED", "", tokenclient.PlainText, "LOGINDISABLED"},
	} {
		t.Run(name, func(t *testing.T) {
			answers := inboxOf(tc.caps)
			if tc.greeting != "" {
				answers["greeting"] = tc.greeting
			}
			src, server := play(t, answers, func(s *tokenclient.Settings) { s.Endpoint.Security = tc.security })
			_, err := src.List(t.Context(), nil, 10)
			mustSay(t, err, wfault.Temporary, tc.reason)
			if sent := server.commands("LOGIN"); len(sent) > 0 {
				t.Error("the password was sent")
			}
		})
	}
}

// TestCapabilitiesAfterLogin: what counts is what the server offers to whom it knows.
func TestCapabilitiesAfterLogin(t *testing.T) {
	const before, after = "* OK [CAPABILITY IMAP4rev1%s] ready\r\n", "* CAPABILITY IMAP4rev1%s\r\nTAG OK done\r\n"
	for name, tc := range map[string]struct{ before, after, login, want string }{
		"more than before":         {"", " MOVE", "TAG OK done\r\n", "UID MOVE 7"},
		"less than before":         {" MOVE UIDPLUS", " UIDPLUS", "TAG OK done\r\n", "UID EXPUNGE 7"},
		"with the answer to LOGIN": {"", "", "TAG OK [CAPABILITY IMAP4rev1 MOVE] done\r\n", "UID MOVE 7"},
		"before that answer":       {"", " MOVE", "* CAPABILITY IMAP4rev1 MOVE\r\nTAG OK done\r\n", "UID MOVE 7"},
	} {
		t.Run(name, func(t *testing.T) {
			answers := inboxOf("")
			answers["greeting"] = fmt.Sprintf(before, tc.before)
			answers["CAPABILITY"] = fmt.Sprintf(after, tc.after)
			answers["LOGIN"] = tc.login
			src, server := play(t, answers, func(s *tokenclient.Settings) { s.Inbound.After = tokenclient.Move })
			if err := src.Settle(t.Context(), providertest.IDs(providertest.Page(t, src, nil))); err != nil {
				t.Fatal(err)
			}
			if len(server.commands(tc.want)) != 1 {
				t.Errorf("said %q, want %s", server.commands(""), tc.want)
			}
		})
	}
}

// TestValidityChangesWithinASession: a folder that was rebuilt is found out when it is opened, and the keys stay.
func TestValidityChangesWithinASession(t *testing.T) {
	w := newWorld(t)
	for i := range 3 {
		w.Deliver(t, "INBOX", letter(i))
	}
	src := w.source(t, w.settings(t), "INBOX")
	before := providertest.Page(t, src, nil)
	if err := w.Sandbox.Store().Renumber(support, "INBOX"); err != nil {
		t.Fatal(err)
	}
	after, err := src.List(t.Context(), before.Next, 10)
	for wfault.Of(err) == wfault.Temporary && err != nil { // the server ends the session
		after, err = src.List(t.Context(), before.Next, 10)
	}
	if wfault.Of(err) != wfault.CursorLost {
		t.Fatalf("%+v, %v, want a lost cursor", after, err)
	}
	again := providertest.Page(t, src, nil)
	if fmt.Sprint(keysOf(again)) != fmt.Sprint(keysOf(before)) {
		t.Errorf("keys %v, before %v", keysOf(again), keysOf(before))
	}
}

func keysOf(p inbound.Page) (all []string) {
	for _, it := range p.Items {
		all = append(all, it.Key)
	}
	return all
}
