package main

import (
	"strings"
	"testing"

	"mailporter/sandbox/admin"
	"mailporter/sandbox/internal/stage"
)

func TestJudge(t *testing.T) {
	d := &demo{Cast: cast(), tally: &tally{last: map[side]int64{}, before: map[side]int64{}}}
	for _, r := range d.Cast {
		d.tally.last[side{r.Address, false}], d.tally.before[side{r.Address, true}] = 2, 3
	}
	for name, tc := range map[string]struct {
		count stage.Count
		chaos bool
		want  string // in the error; empty = fine
	}{
		"all well":            {count: stage.Count{Expected: 9, Arrived: 9}},
		"lost":                {count: stage.Count{Lost: 1}, want: "1 messages were lost"},
		"lost in chaos":       {count: stage.Count{Lost: 2}, chaos: true, want: "2 messages were lost"},
		"altered":             {count: stage.Count{Altered: 1}, want: "no message that was sent"},
		"altered in chaos":    {count: stage.Count{Altered: 1}, chaos: true, want: "no message that was sent"},
		"doubled":             {count: stage.Count{Doubled: 1}, want: "1 messages were doubled"},
		"a kill may double":   {count: stage.Count{Doubled: 1}, chaos: true},
		"a kill that did not": {count: stage.Count{Expected: 9}, chaos: true},
	} {
		t.Run(name, func(t *testing.T) {
			err := d.judge(tc.count, tc.chaos)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v, want %q", err, tc.want)
			}
		})
	}
	d.tally.last[side{"support@contoso.example", false}] = 1
	if err := d.judge(stage.Count{}, false); err == nil || !strings.Contains(err.Error(), "no token was replaced") {
		t.Fatalf("got %v: a run in which no token expired proves nothing", err)
	}
}

func TestTallyAddsUpOverKills(t *testing.T) {
	s := side{"support@contoso.example", true}
	tally := &tally{last: map[side]int64{s: 3}, before: map[side]int64{}}
	tally.closeBooks()
	tally.last[s] = 2
	if got := tally.minted(s.mailbox, true); got != 5 {
		t.Fatalf("minted %d, want the 3 of the killed broker and the 2 of its successor", got)
	}
}

// TestAgree: a mailbox that sent by another protocol than the table says, or more than came, is an error.
func TestAgree(t *testing.T) {
	roles := []Role{{Address: "a@x.example", Sends: "SMTP"}, {Address: "b@x.example", Sends: "EWS"}, {Address: "c@x.example", Sends: "GRAPH"}}
	out := map[string]stage.Count{"a@x.example": {Arrived: 1}, "b@x.example": {Arrived: 2}, "c@x.example": {Arrived: 3}}
	counted := func(smtp, gmail, ews, graph map[string]int) (s admin.Stats) {
		s.SMTP.Accepted, s.GmailSMTP.Accepted, s.EWS.Accepted, s.Graph.Sent = smtp, gmail, ews, graph
		return s
	}
	a, b, c := map[string]int{"a@x.example": 1}, map[string]int{"b@x.example": 2}, map[string]int{"c@x.example": 3}
	for name, tc := range map[string]struct {
		counted admin.Stats
		want    string // in the error; empty = they agree
	}{
		"all well":         {counted(a, nil, b, c), ""},
		"at Gmail":         {counted(nil, a, b, c), ""},
		"not counted":      {counted(a, nil, nil, c), "b@x.example: the provider counted 0 messages by EWS, and 2 came"},
		"once too often":   {counted(a, nil, b, map[string]int{"c@x.example": 4}), "c@x.example: the provider counted 4 messages by GRAPH, and 3 came"},
		"another protocol": {counted(map[string]int{"a@x.example": 1, "c@x.example": 3}, nil, b, nil), "c@x.example: the provider counted 3 messages by SMTP, and 0 came"},
	} {
		t.Run(name, func(t *testing.T) {
			err := agree(roles, out, tc.counted)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}

// TestCast: every way in and out is taken by somebody, and every letter by the worker of its sender.
func TestCast(t *testing.T) {
	d := &demo{Cast: cast(), Ports: Ports{Intake: 1, EWSIntake: 2, GraphIntake: 3}}
	for protocol, intake := range map[string]string{"SMTP": "127.0.0.1:1", "EWS": "127.0.0.1:2", "GRAPH": "127.0.0.1:3"} {
		senders := d.senders(protocol)
		if len(senders) == 0 {
			t.Errorf("nobody sends by %s", protocol)
		}
		for _, address := range senders {
			if d.routes()[address] != intake {
				t.Errorf("%s, who sends by %s, hands in at %s", address, protocol, d.routes()[address])
			}
		}
	}
	large, hidden := false, false
	for _, l := range d.letters(240, "run") {
		large = large || l.Rebuilt && len(l.Bytes) > fileSize
		hidden = hidden || !strings.Contains(string(l.Bytes), l.To[len(l.To)-1]+">")
	}
	if !large || !hidden {
		t.Errorf("a large file %v, a Bcc %v", large, hidden)
	}
}
