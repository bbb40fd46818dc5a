package remedy

import (
	"fmt"
	"strings"
	"testing"
)

// known are the numbers that operators meet; each must have its own line.
const known = `7000215 7000222 7000218 70002 700025 700027 700024 700030 7000229 700016 700011 70001 7000112 7000114 90002 900023
90019 50059 50128 90038 900382 900432 50049 50194 9001023 9002332 90124 90130 500011 500014 50001 650052 650057 65001 650056
65004 90094 90095 90008 70011 28002 28003 700022 700023 70003 900144 90014 9002313 90023 90004 1002016 50126 50034 51004 50020
50056 50053 50055 50144 50057 50058 50072 50079 50074 50076 50078 50097 50129 50155 50187 50105 501051 50131 53000 53001 530003
53002 53003 530032 530034 530035 53004 53011 500021 500022 500212 500213 50173 50132 50133 70000 70008 700082 700084 70043
50089 54005 700005 501481 50147 50011 70016 70018 70019 50134 65002 130507 50012 50013 500133 50027 50196 90055 50088 90033
90006 90012 90024 90090 50033 50087 70012 40008 40010 40009 40015 80001 80014`

func TestBuiltInTableIsComplete(t *testing.T) {
	for _, n := range strings.Fields(known) {
		r, ok := Default().rows["microsoft AADSTS"+n]
		if !ok {
			t.Errorf("AADSTS%s has no line", n)
			continue
		}
		if !strings.HasSuffix(r.remedy, ".") && !strings.Contains(r.remedy, "az ") && !strings.Contains(r.remedy, "http") && !strings.Contains(r.remedy, "Update-") {
			t.Errorf("AADSTS%s: the remedy is no sentence: %s", n, r.remedy)
		}
	}
}

func TestEveryRemedySaysWho(t *testing.T) {
	for key, r := range Default().rows {
		if !strings.Contains(r.remedy, "must") && !strings.HasPrefix(r.remedy, "Please") {
			t.Errorf("%s: nobody must act: %s", key, r.remedy)
		}
		if words := entra.complete(r.remedy + r.link); strings.ContainsAny(words, "{}") {
			t.Errorf("%s: unknown word in braces: %s", key, words)
		}
	}
}

func TestOwnLinesWin(t *testing.T) {
	own, err := Default().With(strings.NewReader("# ours\n[microsoft]\nAADSTS50126 | needs-admin | ASK_THE_DESK | | The desk must help {user}. | https://desk.example/{client}\nAADSTS99 | transient | ODD | 1m30s | Nobody must act.\n"))
	if err != nil {
		t.Fatal(err)
	}
	f := own.FromAnswer(entra, 400, nil, []byte(entraBody("invalid_grant", "", 50126)))
	if f.Class != NeedsAdmin || f.Reason != "ASK_THE_DESK" || f.Remedy != "The desk must help support@contoso.example." || f.Link != "https://desk.example/app-1" {
		t.Errorf("%+v", *f)
	}
	if f := own.FromAnswer(entra, 400, nil, []byte(entraBody("invalid_grant", "", 99))); f.Reason != "ODD" || f.After.String() != "1m30s" {
		t.Errorf("%+v", *f)
	}
	if f := Default().FromAnswer(entra, 400, nil, []byte(entraBody("invalid_grant", "", 50126))); f.Reason != "PASSWORD_REJECTED" {
		t.Errorf("the built-in table was changed: %s", f.Reason)
	}
}

func TestBadLinesAreAllNamed(t *testing.T) {
	for name, tc := range map[string]struct{ text, want string }{
		"no section":   {"AADSTS1 | transient | X | | y", "line 1: write [microsoft]"},
		"columns":      {"[google]\nerror=x | transient", "line 2: 2 columns"},
		"class":        {"[google]\nerror=x | bad | X | | y", `class "bad"`},
		"reason":       {"[google]\nerror=x | transient | not upper | | y", "reason"},
		"remedy":       {"[google]\nerror=x | transient | X | |", "the remedy is missing"},
		"wait":         {"[google]\nerror=x | throttled | X | soon | y", `wait "soon"`},
		"number":       {"[microsoft]\nAADSTSx | throttled | X | | y", "no number"},
		"word":         {"[microsoft]\nfoo=x | throttled | X | | y", "foo=x"},
		"no match":     {"[microsoft]\n | throttled | X | | y", "the match is missing"},
		"two at once":  {"[google]\nerror=x | bad | X | | y\nerror=z", "line 3"},
		"line too big": {strings.Repeat("x", 1<<17), "too long"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Default().With(strings.NewReader(tc.text))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func FuzzTable(f *testing.F) {
	f.Add("[google]\nerror=x | transient | X | 5m | y | z")
	f.Add(builtIn)
	f.Fuzz(func(t *testing.T, text string) {
		own, err := Default().With(strings.NewReader(text))
		if err != nil {
			return
		}
		for key, r := range own.rows {
			if r.reason == "" || r.remedy == "" || r.wait < 0 || fmt.Sprint(r.class) == "" {
				t.Fatalf("%s: %+v", key, r)
			}
		}
	})
}
