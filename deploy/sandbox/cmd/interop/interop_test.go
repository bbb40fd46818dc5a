package main

import (
	"maps"
	"strings"
	"testing"

	"mailporter/sandbox/internal/stage"
)

const maillog = `Jan  5 09:30:01 mail postfix/smtpd[10]: connect from localhost[127.0.0.1]
Jan  5 09:30:01 mail postfix/smtpd[10]: 3F9C61: client=localhost[127.0.0.1], sasl_method=XOAUTH2, sasl_username=xoauth2@real.example
Jan  5 09:30:02 mail postfix/smtpd[10]: 3F9C62: client=localhost[127.0.0.1], sasl_method=XOAUTH2, sasl_username=xoauth2@real.example
Jan  5 09:30:02 mail postfix/smtpd[11]: NOQUEUE: reject: RCPT from localhost[127.0.0.1]: 550 5.1.1 <nobody@real.example>: Recipient address rejected
Jan  5 09:30:03 mail postfix/smtpd[11]: 3F9C63: client=localhost[127.0.0.1], sasl_method=PLAIN, sasl_username=plain@real.example
Jan  5 09:30:03 mail postfix/qmgr[3]: 3F9C63: from=<plain@real.example>, size=1, nrcpt=1 (queue active)
`

func TestCount(t *testing.T) {
	got, err := count(strings.NewReader(maillog))
	want := map[login]int{{"xoauth2@real.example", "XOAUTH2"}: 2, {"plain@real.example", "PLAIN"}: 1}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
}

func TestAgree(t *testing.T) {
	out := map[string]stage.Count{"xoauth2@real.example": {Arrived: 2}, "plain@real.example": {Arrived: 1}}
	for name, c := range map[string]struct {
		taken map[login]int
		want  string // in the error; empty = they agree
	}{
		"all well":      {map[login]int{{"xoauth2@real.example", "XOAUTH2"}: 2, {"plain@real.example", "PLAIN"}: 1}, ""},
		"one broke off": {map[login]int{{"xoauth2@real.example", "XOAUTH2"}: 3, {"plain@real.example", "PLAIN"}: 1}, ""},
		"one less":      {map[login]int{{"xoauth2@real.example", "XOAUTH2"}: 1, {"plain@real.example", "PLAIN"}: 1}, "Postfix took 1 messages after a login by XOAUTH2, and 2 arrived"},
		"another login": {map[login]int{{"xoauth2@real.example", "PLAIN"}: 2, {"plain@real.example", "PLAIN"}: 1}, "xoauth2@real.example logged in by PLAIN"},
	} {
		t.Run(name, func(t *testing.T) {
			err := agree(c.taken, out)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

// TestLetters: one goes to the alias, one to somebody who is refused, and both arrive at a mailbox.
func TestLetters(t *testing.T) {
	known := strings.Join(addresses(), " ")
	envelopes := ""
	for _, l := range write(60, "run") {
		envelopes += strings.Join(l.Envelope, " ") + " "
		for _, to := range l.To {
			if !strings.Contains(known, to) {
				t.Errorf("nobody fetches the mail of %s", to)
			}
		}
	}
	if !strings.Contains(envelopes, alias) || !strings.Contains(envelopes, nobody) {
		t.Errorf("envelopes %q", envelopes)
	}
}
