package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", 900 * time.Millisecond: "0s", 59 * time.Second: "59s", time.Minute: "1m", 42*time.Minute + 10*time.Second: "42m10s", time.Hour: "1h",
		3*time.Hour + 12*time.Minute + 59*time.Second: "3h12m", 24 * time.Hour: "1d", 13*24*time.Hour + 4*time.Hour: "13d4h", 400 * 24 * time.Hour: "400d",
	} {
		if got := span(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

// TestJSONNames: scripts rely on them. A new field is added here; one that is gone breaks somebody.
func TestJSONNames(t *testing.T) {
	now := time.Unix(1790000000, 0).UTC()
	b, err := json.Marshal(row{"a@b.c", "in", "IMAP", "refresh_token", "cred", "frozen", "needs-user", "WHY", "Do it.", now, now, now, now, now, "It ends.", 3})
	const want = `{"mailbox":"a@b.c","side":"in","protocol":"IMAP","grant":"refresh_token","credential":"cred","state":"frozen","class":"needs-user","reason":"WHY",` +
		`"remedy":"Do it.","failing_since":"TIME","next_try":"TIME","token_expires":"TIME","last_token":"TIME","act_before":"TIME","because":"It ends.","tokens_minted":3}`
	if got := strings.ReplaceAll(string(b), now.Format(time.RFC3339), "TIME"); err != nil || got != want {
		t.Fatalf("%s, %v", got, err)
	}
}

// TestEveryWordOfTheContract: a state or class that the contract knows has a word here.
func TestEveryWordOfTheContract(t *testing.T) {
	for n, name := range brokerv1.State_name {
		if got := stateOf(brokerv1.State(n)); (got == unknown) != (n == 0) {
			t.Errorf("%s is %q", name, got)
		}
	}
	for n := range brokerv1.FailureClass_name {
		if got := strings.ToLower(enum(brokerv1.FailureClass(n).String(), "FAILURE_CLASS_")); n != 0 && oneOf("class", got, classes) != nil {
			t.Errorf("%q", got)
		}
	}
	for n := range brokerv1.Protocol_name {
		if got := enum(brokerv1.Protocol(n).String(), "PROTOCOL_"); n != 0 && oneOf("protocol", got, protocols) != nil {
			t.Errorf("%q", got)
		}
	}
}
