package fault

import (
	"context"
	"encoding/json"
	"net"
	"strings"
	"testing"
	"time"
)

func TestTakeCountsAndMatches(t *testing.T) {
	var p Plan
	p.Add(Rule{ID: "second", Target: IMAP, Step: "fetch", Mailbox: "a@x", Action: Reset, After: 1, Count: 1})
	p.Add(Rule{ID: "any", Target: SMTP, Action: Stall})
	at := Point{Target: IMAP, Step: "fetch", Mailbox: "A@x", Client: "c"}
	steps := []struct {
		at   Point
		want string
	}{
		{Point{Target: IMAP, Step: "select", Mailbox: "a@x"}, ""},
		{Point{Target: IMAP, Step: "fetch", Mailbox: "b@x"}, ""},
		{at, ""}, {at, "second"}, {at, ""},
		{Point{Target: SMTP, Step: "mail"}, "any"}, {Point{Target: SMTP, Step: "data"}, "any"},
	}
	for i, s := range steps {
		got := ""
		if r := p.Take(s.at); r != nil {
			got = r.ID
		}
		if got != s.want {
			t.Errorf("step %d: %q, want %q", i, got, s.want)
		}
	}
	if p.Fired("second") != 1 || p.Fired("any") != 2 || p.Fired("none") != 0 {
		t.Errorf("rules %+v", p.Rules())
	}
	if !p.Remove("any") || p.Remove("any") || len(p.Rules()) != 1 {
		t.Error("remove")
	}
	p.Clear()
	if p.Take(at) != nil || len(p.Rules()) != 0 {
		t.Error("clear")
	}
}

func TestMisspeltRulePanics(t *testing.T) {
	defer func() {
		if r := recover(); r == nil || !strings.Contains(r.(string), "fecth") {
			t.Errorf("recovered %v", r)
		}
	}()
	new(Plan).Add(Rule{Target: IMAP, Step: "fecth", Action: Reset})
}

func TestValidate(t *testing.T) {
	tests := []struct {
		name string
		rule Rule
		want string
	}{
		{"fine", Rule{Target: Identity, Action: Reply, Status: 503}, ""},
		{"number alone", Rule{Target: Identity, Action: Reply, AADSTS: 50076}, ""},
		{"no target", Rule{Action: Reset}, "target"},
		{"step of another target", Rule{Target: SMTP, Step: "fetch", Action: Reset}, "smtp has greeting, connect"},
		{"action of another target", Rule{Target: SMTP, Action: Bye}, "smtp can"},
		{"negative", Rule{Target: SMTP, Action: Delay, Delay: -1}, "negative"},
		{"reply without a status", Rule{Target: Identity, Action: Reply}, "status 0"},
		{"reply without a text", Rule{Target: IMAP, Action: Reply}, "text"},
		{"a word where none is said", Rule{Target: SMTP, Step: "greeting", Action: Reply, Text: "421 no"}, "at step greeting smtp can"},
		{"held answer", Rule{Target: EWS, Step: "send", Action: HoldAnswer}, ""},
		{"gateway", Rule{Target: Graph, Step: "send", Action: LoseAnswer, Status: 504}, ""},
		{"gateway of another target", Rule{Target: SMTP, Action: LoseAnswer, Status: 504}, "of graph or ews"},
		{"gateway that is pleased", Rule{Target: EWS, Action: LoseAnswer, Status: 200}, "of 400 to 599"},
		{"reply that is a success", Rule{Target: SMTP, Action: Reply, Text: "250 ok"}, "400 to 599"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := test.rule.Validate()
			if (err == nil) != (test.want == "") || (err != nil && !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestRuleAsJSON(t *testing.T) {
	in := Rule{
		ID: "x", Target: Identity, Step: "token", Mailbox: "a@x", Client: "c", After: 1, Count: 2, Action: Reply, Status: 429,
		Body: "b", Header: map[string]string{"A": "b"}, AADSTS: 3, Text: "t", Bytes: 4, RetryAfter: time.Minute, Delay: time.Second, Skew: -time.Hour,
	}
	b, err := json.Marshal(in)
	if err != nil || !strings.Contains(string(b), `"retry_after":"1m0s"`) {
		t.Fatalf("%s, %v", b, err)
	}
	var out Rule
	if err := json.Unmarshal(b, &out); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(out)
	if err != nil || string(again) != string(b) {
		t.Errorf("%s, then %s, %v", b, again, err)
	}
}

func TestParseReply(t *testing.T) {
	tests := []struct {
		in       string
		code     int
		enhanced [3]int
		text     string
		ok       bool
	}{
		{"432 4.3.2 Concurrent connections", 432, [3]int{4, 3, 2}, "Concurrent connections", true},
		{"421 bye", 421, [3]int{}, "bye", true},
		{"554", 554, [3]int{}, "", true},
		{"554 5.2.252 SendAsDenied; a not allowed", 554, [3]int{5, 2, 252}, "SendAsDenied; a not allowed", true},
		{"450 4.2.1000 x", 450, [3]int{}, "4.2.1000 x", true},
		{"250 2.0.0 fine", 0, [3]int{}, "", false},
		{"4511 x", 0, [3]int{}, "", false},
		{"", 0, [3]int{}, "", false},
	}
	for _, test := range tests {
		t.Run(test.in, func(t *testing.T) {
			code, enhanced, text, err := ParseReply(test.in)
			if code != test.code || enhanced != test.enhanced || text != test.text || (err == nil) != test.ok {
				t.Errorf("got %d %v %q, %v", code, enhanced, text, err)
			}
		})
	}
}

func FuzzParseReply(f *testing.F) {
	f.Add("432 4.3.2 Concurrent connections")
	f.Add("554")
	f.Fuzz(func(t *testing.T, s string) {
		code, enhanced, _, err := ParseReply(s)
		if err == nil && (code < 400 || code > 599 || enhanced[0] > 5) {
			t.Errorf("%q: %d %v", s, code, enhanced)
		}
	})
}

func FuzzRule(f *testing.F) {
	f.Add(`{"target":"imap","step":"fetch","action":"cut","bytes":10,"count":1}`)
	f.Add(`{"target":"identity","action":"delay","delay":"20ms"}`)
	f.Fuzz(func(t *testing.T, s string) {
		var r Rule
		if json.Unmarshal([]byte(s), &r) != nil || r.Validate() != nil {
			return
		}
		b, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var again Rule
		if err := json.Unmarshal(b, &again); err != nil {
			t.Errorf("%s became %s: %v", s, b, err)
		}
	})
}

func TestWaitEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	began := time.Now()
	Wait(ctx, time.Hour)
	Wait(t.Context(), time.Millisecond)
	if time.Since(began) > time.Minute {
		t.Error("waited on")
	}
}

// wrapped is a connection around another one, as TLS is.
type wrapped struct{ net.Conn }

func (w wrapped) NetConn() net.Conn { return w.Conn }

func TestResetGoesThroughWrappers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	ResetConn(wrapped{wrapped{server}})
	if _, err := client.Read(make([]byte, 1)); err == nil || !strings.Contains(err.Error(), "reset") {
		t.Errorf("got %v", err)
	}
}
