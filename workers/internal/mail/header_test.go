package mail_test

import (
	"errors"
	"strings"
	"testing"

	"mailporter/workers/internal/mail"
)

func TestMessageID(t *testing.T) {
	for name, c := range map[string]struct{ header, want string }{
		"plain":                   {"From: a\r\nMessage-ID: <1@a.example>\r\n\r\n", "<1@a.example>"},
		"in any case":             {"message-id:<1@a.example>\n\n", "<1@a.example>"},
		"folded":                  {"Message-ID:\r\n <1@a.example>\r\n\r\n", "<1@a.example>"},
		"blanks before colon":     {"Message-ID \t: <1@a.example>\r\n\r\n", "<1@a.example>"},
		"odd but legal":           {"Message-ID: <\"a'b\\\"c\"$%(1)@[10.0.0.1]>\r\n\r\n", `<"a'b\"c"$%(1)@[10.0.0.1]>`},
		"the header ends":         {"Message-ID: <1@a.example>", "<1@a.example>"},
		"none":                    {"Subject: x\r\n\r\nMessage-ID: <1@a.example>\r\n", ""},
		"empty":                   {"Message-ID: \r\n\r\n", ""},
		"two":                     {"Message-ID: <1@a.example>\r\nMessage-ID: <2@a.example>\r\n\r\n", ""},
		"two in one":              {"Message-ID: <1@a.example> <2@a.example>\r\n\r\n", ""},
		"without brackets":        {"Message-ID: 1@a.example\r\n\r\n", ""},
		"a comment beside it":     {"Message-ID: <1@a.example> (mine)\r\n\r\n", ""},
		"not ASCII":               {"Message-ID: <é@a.example>\r\n\r\n", ""},
		"a control character":     {"Message-ID: <1\x00@a.example>\r\n\r\n", ""},
		"longer than any line":    {"Message-ID: <" + strings.Repeat("1", 1000) + ">\r\n\r\n", ""},
		"as long as a line":       {"Message-ID: <" + strings.Repeat("1", 996) + ">\r\n\r\n", "<" + strings.Repeat("1", 996) + ">"},
		"a resent one is other":   {"Resent-Message-ID: <2@a.example>\r\nMessage-ID: <1@a.example>\r\n\r\n", "<1@a.example>"},
		"a line that is no field": {"nonsense\r\nMessage-ID: <1@a.example>\r\n\r\n", "<1@a.example>"},
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := mail.MessageID(strings.NewReader(c.header)); got != c.want || err != nil {
				t.Errorf("%q, %v; want %q", got, err, c.want)
			}
		})
	}
	var endless *mail.HeaderError
	if _, err := mail.MessageID(strings.NewReader(strings.Repeat("X: y\r\n", 1<<18))); !errors.As(err, &endless) {
		t.Errorf("a header without end: %v", err)
	}
}

// FuzzMessageID: whatever is found can stand in a search, and stands in the message.
func FuzzMessageID(f *testing.F) {
	for _, seed := range []string{"Message-ID: <1@a.example>\r\n\r\n", "Message-ID:\n\t<a>\n\n", "message-id : <>\n", "\n", "Message-ID: <a\r\nb>"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, message string) {
		id, err := mail.MessageID(strings.NewReader(message))
		if err != nil || id == "" {
			return
		}
		if strings.ContainsAny(id, " \t\r\n\x00") || !strings.HasPrefix(id, "<") || strings.Count(id, ">") != 1 || !strings.Contains(message, id) {
			t.Errorf("%q out of %q", id, message)
		}
	})
}
