package main

import (
	"strings"
	"testing"

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
