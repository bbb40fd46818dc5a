package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// sender answers as the admin server of a sending worker does.
type sender struct {
	mu        sync.Mutex
	all       map[string]message
	mailboxes string // what it answers about them
	changed   []string
}

func (w *sender) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	id, verb, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/outbox/"), "/")
	m, known := w.all[id]
	switch {
	case r.URL.Path == "/mailboxes":
		_, _ = rw.Write([]byte(w.mailboxes))
	case r.URL.Path == "/outbox":
		list := w.list(r.FormValue("mailbox"), r.FormValue("after"))
		if len(list) > 2 { // though more were asked for
			list = list[:2]
			rw.Header().Set("Link", "<?"+url.Values{"after": {list[1].ID}, "mailbox": {r.FormValue("mailbox")}}.Encode()+`>; rel="next"`)
		}
		_ = json.NewEncoder(rw).Encode(list)
	case !known:
		http.Error(rw, "there is no such message in the outbox; what was sent leaves it", http.StatusNotFound)
	case r.Method != http.MethodGet && r.Header.Get("Mailporter-Operator") == "":
		http.Error(rw, "the header is missing", http.StatusForbidden)
	case r.Method == http.MethodGet:
		_ = json.NewEncoder(rw).Encode(m)
	default:
		w.changed = append(w.changed, r.Method+" "+id+" "+verb)
		rw.WriteHeader(http.StatusNoContent)
	}
}

func (w *sender) list(mailbox, after string) (list []message) {
	ids := []string{"7", "8", "9", "10", "11"}
	for _, id := range ids[slices.Index(ids, after)+1:] {
		if mailbox == "" || mailbox == w.all[id].Mailbox {
			list = append(list, w.all[id])
		}
	}
	return list
}

// sending starts a worker with a message in each state.
func sending(t *testing.T) (*sender, string) {
	t.Helper()
	now := time.Now()
	letter := func(id, mailbox string, next time.Time, all ...recipient) message {
		for i := range all {
			all[i].Changed = now.Add(-time.Minute)
		}
		return message{ID: id, Mailbox: mailbox, From: mailbox, Size: 48_123, Accepted: now.Add(-2 * time.Hour), Attempts: 3, Next: next, Recipients: all}
	}
	const support, sales = "support@contoso.example", "sales@contoso.example"
	w := &sender{all: map[string]message{
		"7":  letter("7", support, now.Add(time.Second), recipient{Address: "a@x.example", State: "queued"}),
		"8":  letter("8", support, now.Add(5*time.Minute+time.Second), recipient{Address: "b@x.example", State: "deferred", Reason: "451 4.7.0 greylisted"}),
		"9":  letter("9", sales, time.Time{}, recipient{Address: "c@x.example", State: "unknown", Reason: "the link broke"}),
		"10": letter("10", sales, time.Time{}, recipient{Address: "ok@x.example", State: "sent"}, recipient{Address: "d@x.example", State: "dead", Reason: "550 5.1.1 no such user"}, recipient{Address: "e@x.example", State: "dead", Reason: "gave up"}),
		"11": letter("11", sales, time.Time{}, recipient{Address: "f@x.example", State: "sending"}),
	}}
	waiting, held := w.all["7"], w.all["9"]
	waiting.WaitsFor, waiting.WaitsUntil, held.Held = "30 messages in a minute are used up", now.Add(40*time.Second+time.Second/2), true
	w.all["7"], w.all["9"] = waiting, held
	server := httptest.NewServer(w)
	t.Cleanup(server.Close)
	return w, server.URL
}

func ctl(t *testing.T, want int, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	if got := run(args, &out, &errs); got != want {
		t.Fatalf("brokerctl %s: exit %d, want %d\n%s%s", strings.Join(args, " "), got, want, out.String(), errs.String())
	}
	return out.String(), errs.String()
}

func TestOutboxList(t *testing.T) {
	_, url := sending(t)
	out, _ := ctl(t, 0, "outbox", "list", "--worker", url)
	want := []string{
		"ID FROM RECIPIENTS STATE SIZE AGE ATTEMPTS NEXT TRY WHY",
		"10 sales@contoso.example d@x.example and 1 more dead 48 kB 2h 3 - 550 5.1.1 no such user",
		"9 sales@contoso.example c@x.example unknown, held 48 kB 2h 3 - the link broke",
		"7 support@contoso.example a@x.example queued 48 kB 2h 3 in 40s 30 messages in a minute are used up",
		"8 support@contoso.example b@x.example deferred 48 kB 2h 3 in 5m 451 4.7.0 greylisted",
		"11 sales@contoso.example f@x.example sending 48 kB 2h 3 - -",
		"5 messages; recipients: 2 dead, 1 unknown, 1 deferred, 1 sending, 1 queued, 1 sent",
	}
	for i, line := range strings.Split(strings.TrimSpace(out), "\n") {
		if i >= len(want) || strings.Join(strings.Fields(line), " ") != want[i] {
			t.Errorf("line %d: %q", i, line)
		}
	}
	if out, _ = ctl(t, 0, "outbox", "list", "--worker", url, "--state", "dead"); !strings.Contains(out, "1 message;") || strings.Contains(out, "greylisted") {
		t.Error(out)
	}
	if out, _ = ctl(t, 0, "outbox", "list", "--worker", url, "--mailbox", "support@contoso.example", "--limit", "1"); !strings.Contains(out, "1 more: --limit 0") {
		t.Error(out)
	}
	var all []message
	out, _ = ctl(t, 0, "outbox", "list", "--worker", url, "-o", "json")
	if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) != 5 || all[0].ID != "10" {
		t.Errorf("%v, %s", err, out)
	}
}

func TestOutboxShow(t *testing.T) {
	_, url := sending(t)
	for id, want := range map[string][]string{
		"10": {"DEAD", "next try  none; brokerctl outbox retry 10, or drop 10", "d@x.example   dead   1m ago  550 5.1.1 no such user"},
		"9":  {"UNKNOWN, HELD", "none; brokerctl outbox retry 9"},
		"7":  {"QUEUED", "waits for  30 messages in a minute are used up"},
		"11": {"SENDING", "it is being sent"},
	} {
		out, _ := ctl(t, 0, "outbox", "show", id, "--worker", url)
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("%s: no %q in\n%s", id, w, out)
			}
		}
	}
}

func TestOutboxChanges(t *testing.T) {
	w, url := sending(t)
	ctl(t, 0, "outbox", "retry", "10", "9", "--worker", url)
	ctl(t, 0, "outbox", "drop", "8", "--worker", url)
	if got := strings.Join(w.changed, "; "); got != "POST 10 retry; POST 9 retry; DELETE 8 " {
		t.Error(got)
	}
	if _, stderr := ctl(t, 1, "outbox", "retry", "4711", "7", "--worker", url); !strings.Contains(stderr, "it answered 404 Not Found: there is no such message") {
		t.Error(stderr)
	}
	if got := w.changed[len(w.changed)-1]; got != "POST 7 retry" {
		t.Errorf("after one that is not there: %s", got)
	}
}

func TestOutboxOfNobody(t *testing.T) {
	nothing := httptest.NewServer(http.NotFoundHandler())
	defer nothing.Close()
	for want, args := range map[string][]string{
		"it keeps no outbox: name the admin address of a worker that sends": {"--worker", nothing.URL},
		"--worker 127.0.0.1:1: ": {"--worker", "127.0.0.1:1"},
		"this is no address":     {"--worker", "a b"},
	} {
		if _, stderr := ctl(t, 1, append([]string{"outbox", "list"}, args...)...); !strings.Contains(stderr, want) {
			t.Errorf("%q, want %q", stderr, want)
		}
	}
	for _, args := range [][]string{{"--state", "lost"}, {"-o", "xml"}} {
		ctl(t, 2, append([]string{"outbox", "list"}, args...)...)
	}
}

// TestOutboxBacklog: how much waits for each mailbox, until when, and why.
func TestOutboxBacklog(t *testing.T) {
	w, url := sending(t)
	at := func(d time.Duration) string { return time.Now().Add(d).Format(time.RFC3339Nano) }
	w.mailboxes = `[
		{"mailbox": "sales@contoso.example", "state": "failing", "waiting_messages": 3, "oldest_accepted": "` + at(-2*time.Hour) + `",
			"problem": {"kind": "auth", "text": "535 5.7.3", "remedy": "Allow SMTP AUTH for the mailbox."}},
		{"mailbox": "office@contoso.example", "state": "ready"},
		{"mailbox": "support@contoso.example", "state": "paused", "waiting_messages": 500, "oldest_accepted": "` + at(-3*time.Minute) + `",
			"eta_seconds": 960, "paused_until": "` + at(40*time.Second+time.Second/2) + `", "paused_because": "30 messages in a minute are used up"}]`
	out, _ := ctl(t, 0, "outbox", "list", "--worker", url)
	_, below, _ := strings.Cut(out, "\n\n")
	want := []string{
		"MAILBOX WAITING OLDEST ALL SENT PAUSED WHY",
		"support@contoso.example 500 3m in 16m in 40s 30 messages in a minute are used up",
		"sales@contoso.example 3 2h - - Allow SMTP AUTH for the mailbox.",
	}
	for i, line := range strings.Split(strings.TrimSpace(below), "\n") {
		if i >= len(want) || strings.Join(strings.Fields(line), " ") != want[i] {
			t.Errorf("line %d: %q", i, line)
		}
	}
	if out, _ = ctl(t, 0, "outbox", "list", "--worker", url, "--mailbox", "sales@contoso.example"); strings.Contains(out, "in 16m") || !strings.Contains(out, "Allow SMTP AUTH") {
		t.Error(out)
	}
	if out, _ = ctl(t, 0, "outbox", "list", "--worker", url, "-o", "json"); strings.Contains(out, "waiting_messages") {
		t.Error(out)
	}
}
