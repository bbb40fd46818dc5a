package triage

import (
	"fmt"
	"testing"
	"time"

	"mailporter/broker/internal/remedy"
	"mailporter/kit/secret"
)

var start = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

func tokenNo(n int) secret.Fingerprint { return secret.New(fmt.Sprint("token-", n)).Fingerprint() }

func report(mailbox, token int) Report {
	return Report{Side: fmt.Sprintf("m%d@contoso.example in", mailbox), Version: "v", Server: "imap.example:993", Reply: "NO AUTHENTICATE failed.", Token: tokenNo(token)}
}

func mustSay(t *testing.T, what string, f *remedy.Fault, reason string) {
	t.Helper()
	got := ""
	if f != nil {
		got = f.Reason
		if f.Remedy == "" || f.After <= 0 {
			t.Errorf("%s: %s has no remedy or no time", what, got)
		}
	}
	if got != reason {
		t.Errorf("%s: %q, want %q", what, got, reason)
	}
}

// TestReplies: what a server says plainly is believed at once, and no token is spent on it.
func TestReplies(t *testing.T) {
	for reply, reason := range map[string]string{
		"* BAD User is authenticated but not connected.":                                               "MAILBOX_NOT_CONNECTED",
		"535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant": "SMTP_AUTH_DISABLED",
		"NO [ALERT] Your account is not enabled for IMAP use.":                                         "PROTOCOL_DISABLED",
		"403 ErrorAccessDenied Access is denied.":                                                      "MAILBOX_PERMISSION_MISSING",
		"535 5.7.139 the request did not meet the criteria to be authenticated successfully":           "SIGN_IN_BLOCKED",
		"NO [WEBALERT x] Web login required.":                                                          "WEB_LOGIN_REQUIRED",
		"NO AUTHENTICATE failed.":                                                                      "",
		"":                                                                                             "",
	} {
		b := New(nil)
		r := report(1, 1)
		r.Reply = reply
		mustSay(t, reply, b.Judge(r, start), reason)
		f, since := b.Of(r.Side, "v", start)
		mustSay(t, reply+", shown", f, reason)
		if reason != "" && !since.Equal(start) {
			t.Errorf("%s: since %v", reply, since)
		}
	}
}

// TestAMailboxAtFault: the second token that it refuses makes it the mailbox; the others of its credential are not touched.
func TestAMailboxAtFault(t *testing.T) {
	b := New(nil)
	mustSay(t, "the first", b.Judge(report(1, 1), start), "")
	mustSay(t, "the first again", b.Judge(report(1, 1), start.Add(time.Second)), "")
	mustSay(t, "a fresh one", b.Judge(report(1, 2), start.Add(2*time.Second)), remedy.RejectsFreshToken)
	mustSay(t, "another mailbox", b.Judge(report(2, 2), start.Add(3*time.Second)), "")
	f, _ := b.Of(report(1, 2).Side, "v", start.Add(29*time.Minute))
	mustSay(t, "after a while", f, remedy.RejectsFreshToken)
	f, _ = b.Of(report(1, 2).Side, "v", start.Add(31*time.Minute))
	mustSay(t, "without further reports", f, "")
	mustSay(t, "much later", b.Judge(report(1, 3), start.Add(time.Hour)), "")
}

func TestItIsForgotten(t *testing.T) {
	for what, forget := range map[string]func(*Board, *Report){
		"by a reset":          func(b *Board, r *Report) { b.Forget(r.Side) },
		"by changed settings": func(_ *Board, r *Report) { r.Version = "w" },
	} {
		b := New(nil)
		b.Judge(report(1, 1), start)
		b.Judge(report(1, 2), start)
		r := report(1, 3)
		forget(b, &r)
		f, _ := b.Of(r.Side, r.Version, start)
		mustSay(t, what, f, "")
		mustSay(t, what, b.Judge(r, start), "")
	}
}

// TestTheServerRefusesEverybody: many mailboxes and more than one token within two minutes are no mailbox's fault.
func TestTheServerRefusesEverybody(t *testing.T) {
	b := New(nil)
	for i := range many - 1 {
		mustSay(t, "few", b.Judge(report(i, i), start.Add(time.Duration(i)*time.Second)), "")
	}
	mustSay(t, "many", b.Judge(report(99, 99), start.Add(20*time.Second)), "MAIL_SERVER_REFUSES_EVERYBODY")
	elsewhere := report(100, 100)
	elsewhere.Server = "other.example:993"
	mustSay(t, "another server", b.Judge(elsewhere, start.Add(20*time.Second)), "")
	mustSay(t, "later", b.Judge(report(101, 101), start.Add(5*time.Minute)), "")
	if f, _ := b.Of(report(99, 99).Side, "v", start.Add(20*time.Second)); f != nil {
		t.Errorf("a mailbox is blamed for its server: %v", f)
	}
}

// TestOneTokenOfMany: a token that ended is refused to all who share it; that is no disturbance, and it is replaced.
func TestOneTokenOfMany(t *testing.T) {
	b := New(nil)
	for i := range 50 {
		mustSay(t, "shared", b.Judge(report(i, 1), start), "")
	}
	mustSay(t, "its successor, by one", b.Judge(report(3, 2), start.Add(time.Second)), remedy.RejectsFreshToken)
	for i := range many {
		b.Judge(report(i, 2), start.Add(time.Second))
	}
	mustSay(t, "its successor, by many", b.Judge(report(20, 2), start.Add(time.Second)), "MAIL_SERVER_REFUSES_EVERYBODY")
}

func TestClaimsAndSessions(t *testing.T) {
	b := New(nil)
	for i := range 5 {
		r := report(1, i)
		r.Session = true
		mustSay(t, "a session's end", b.Judge(r, start), "")
	}
	r := report(2, 1)
	r.Claims = true
	mustSay(t, "a challenge", b.Judge(r, start), "")
	r.Token = tokenNo(2)
	mustSay(t, "a challenge of a fresh one", b.Judge(r, start), "CLAIMS_CHALLENGE")
}

// TestBounded: a server that refuses for ever fills no memory.
func TestBounded(t *testing.T) {
	b := New(nil)
	for i := range 10_000 {
		b.Judge(report(i%500, i), start)
	}
	if n := len(b.servers["imap.example:993"]); n > 10*many+1 {
		t.Errorf("%d refusals are remembered", n)
	}
}
