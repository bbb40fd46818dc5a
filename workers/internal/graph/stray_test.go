package graph_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	sandboxfault "mailporter/sandbox/fault"
	"mailporter/sandbox/mailstore"
	"mailporter/workers/internal/mail"
)

const strayLetter = "Message-ID: <o'1@test.example>\r\nFrom: <" + support + ">\r\nTo: Sales <" + sales + ">\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n" +
	"MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nGood  morning,\r\nhere it is.\r\n" +
	"--b\r\nContent-Disposition: attachment; filename=a.txt\r\n\r\none\r\n--b--\r\n"

// put writes a draft as a person's program would.
func (w *world) put(t *testing.T, raw string) {
	t.Helper()
	store := w.Sandbox.Store()
	target := mailstore.Target{Mailbox: support, Folder: store.Used(support, mailstore.UseDrafts), Flags: []string{`\Draft`}}
	if _, err := store.Deliver([]byte(raw), []mailstore.Target{target}, nil); err != nil {
		t.Fatal(err)
	}
}

// TestWhichDraftIsOurs: what is in all respects the message, and nothing else; and whatever it is, it stays.
func TestWhichDraftIsOurs(t *testing.T) {
	with := func(old, new string) string { return strings.Replace(strayLetter, old, new, 1) }
	long := time.Hour
	for name, tc := range map[string]struct {
		drafts []string
		since  time.Duration // when the message was accepted, from now
		want   bool
	}{
		"the message":              {[]string{strayLetter}, 0, true},
		"written anew by Exchange": {[]string{with("Good  morning,\r\nhere", "Good morning, here")}, 0, true},
		"from before":              {[]string{strayLetter}, long, false},
		"two of them":              {[]string{strayLetter, strayLetter}, 0, false},
		"a person's beside it":     {[]string{strayLetter, with("Good", "Bad")}, 0, false},
		"another message":          {[]string{with("<o'1@", "<o'2@")}, 0, false},
		"another text":             {[]string{with("here it is", "here it was")}, 0, false},
		"another subject":          {[]string{with("=C3=9F", "ss")}, 0, false},
		"another attachment":       {[]string{with("\r\none\r\n", "\r\ntwo\r\n")}, 0, false},
		"another attachment name":  {[]string{with("a.txt", "b.txt")}, 0, false},
		"to another one":           {[]string{with(sales, office)}, 0, false},
		"to one more":              {[]string{"Bcc: <" + office + ">\r\n" + strayLetter}, 0, false},
		"cannot be read":           {[]string{with("boundary=b", "boundary=c")}, 0, false},
		"none":                     {nil, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			tr := w.transport(t, w.sending(t))
			for _, raw := range tc.drafts {
				w.put(t, raw)
			}
			id, err := tr.FindDraft(t.Context(), to(sales), mail.Bytes(strayLetter), time.Now().Add(tc.since-time.Second))
			if err != nil || (id != "") != tc.want {
				t.Errorf("found %q, %v; want one: %v", id, err, tc.want)
			}
			if n := len(w.Folder(t, "Drafts").Messages); n != len(tc.drafts) {
				t.Errorf("%d drafts are left, want %d", n, len(tc.drafts))
			}
		})
	}
}

// TestUnaddressedDraftIsNobodys: until it has its Bcc, a draft may be that of another copy of the message.
func TestUnaddressedDraftIsNobodys(t *testing.T) {
	w := newWorld(t)
	tr := w.transport(t, w.sending(t))
	e, b := to(sales, office), mail.Bytes(strayLetter)
	began := time.Now()
	w.put(t, strayLetter)
	if id, err := tr.FindDraft(t.Context(), e, b, began); err != nil || id != "" {
		t.Errorf("found %q, %v", id, err)
	}
	w.Remove(t, "Drafts", []byte(strayLetter))
	w.Fault(sandboxfault.Rule{Step: "update", Count: 1, Action: sandboxfault.LoseAnswer})
	w.Fault(sandboxfault.Rule{Step: "delete", Count: 1, Action: sandboxfault.Reset})
	if _, err := tr.Draft(t.Context(), e, b); err == nil {
		t.Fatal("the answer was not lost")
	}
	id, err := tr.FindDraft(t.Context(), e, b, began)
	if err != nil || id == "" {
		t.Fatalf("found %q, %v", id, err)
	}
	if err := tr.SendDraft(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	for _, who := range []string{sales, office} {
		if got := w.Inbox(t, who); len(got) != 1 || !bytes.Equal(got[0], b) {
			t.Errorf("%s has %q", who, got)
		}
	}
}

// TestLooksAmongDraftsInTrouble: an error is one, and what cannot be compared is left alone.
func TestLooksAmongDraftsInTrouble(t *testing.T) {
	for name, tc := range map[string]struct {
		rule sandboxfault.Rule
		raw  string
		err  bool
	}{
		"the list fails":         {sandboxfault.Rule{Step: "list", Action: sandboxfault.Reply, Status: 500}, strayLetter, true},
		"the bytes do not come":  {sandboxfault.Rule{Step: "value", Action: sandboxfault.Reply, Status: 503}, strayLetter, true},
		"it is gone by then":     {sandboxfault.Rule{Step: "value", Action: sandboxfault.Reply, Status: 404, Body: `{"error":{"code":"ErrorItemNotFound"}}`}, strayLetter, false},
		"a signed one":           {sandboxfault.Rule{}, strings.Replace(strayLetter, "multipart/mixed", "multipart/signed", 1), false},
		"one without Message-ID": {sandboxfault.Rule{}, strings.TrimPrefix(strayLetter, "Message-ID: <o'1@test.example>\r\n"), false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			tr := w.transport(t, w.sending(t))
			began := time.Now()
			w.put(t, tc.raw)
			if tc.rule.Step != "" {
				w.Fault(tc.rule)
			}
			if id, err := tr.FindDraft(t.Context(), to(sales), mail.Bytes(tc.raw), began); id != "" || (err != nil) != tc.err {
				t.Errorf("found %q, %v", id, err)
			}
		})
	}
}
