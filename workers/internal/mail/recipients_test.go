package mail_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"mailporter/workers/internal/mail"
)

func envelope(to ...string) mail.Envelope {
	var e mail.Envelope
	for _, a := range to {
		e.Recipients = append(e.Recipients, mail.Recipient{Address: a})
	}
	return e
}

// TestUnnamed: what the header and the envelope say of the recipients.
func TestUnnamed(t *testing.T) {
	const a, b, c = "a@x.example", "b@x.example", "c@x.example"
	for name, tc := range map[string]struct {
		header string
		to     []string
		want   []string
		wrong  string // part of the error; empty = none
	}{
		"all named":              {"To: A <a@x.example>\r\nCC: b@x.example", []string{a, b}, nil, ""},
		"nobody named":           {"Subject: x", []string{a, b}, []string{a, b}, ""},
		"one unseen":             {"To: a@x.example", []string{a, b}, []string{b}, ""},
		"one of the message's":   {"To: a@x.example\r\nBcc: b@x.example", []string{a, b, c}, []string{b, c}, ""},
		"in To and Bcc":          {"Bcc: a@x.example\r\nTo: a@x.example\r\nBcc: a@x.example", []string{a}, nil, ""},
		"a stranger in To":       {"To: a@x.example, eve@y.example", []string{a}, nil, "To names eve@y.example"},
		"a stranger in Cc":       {"cc: eve@y.example", []string{a}, nil, "Cc names"},
		"a stranger in Bcc":      {"bcc:eve@y.example", []string{a}, nil, "Bcc names"},
		"a stranger in the 2nd":  {"To: a@x.example\r\nTo: eve@y.example", []string{a}, nil, "eve"},
		"spelt differently":      {"To: A@X.Example", []string{a}, nil, ""},
		"quoted":                 {`To: "john doe"@x.example`, []string{`"john doe"@x.example`}, nil, ""},
		"unseen and quoted":      {"Subject: x", []string{`"john doe"@x.example`}, []string{`"john doe"@x.example`}, ""},
		"folded":                 {"To: a@x.example,\r\n\t B <b@x.example>", []string{a, b}, nil, ""},
		"folded at once":         {"To:\r\n a@x.example", []string{a}, nil, ""},
		"folded elsewhere":       {"Subject: a\r\n To: eve@y.example\r\nTo: a@x.example", []string{a}, nil, ""},
		"a blank before colon":   {"To : eve@y.example", []string{a}, nil, "eve"},
		"bare line feeds":        {"To: a@x.example\nCc: b@x.example", []string{a, b}, nil, ""},
		"empty":                  {"To:\r\nCc: \r\nBcc: \t", []string{a}, []string{a}, ""},
		"undisclosed":            {"To: undisclosed-recipients:;", []string{a}, []string{a}, ""},
		"a group":                {"To: friends: a@x.example, B <b@x.example>;", []string{a, b}, nil, ""},
		"an address as name":     {"To: a@x.example <a@x.example>, b@x.example <b@x.example>", []string{a, b}, nil, ""},
		"another's as name":      {"To: eve@y.example <a@x.example>", []string{a}, nil, ""},
		"an unknown charset":     {"To: =?x-none?q?=ff?= <a@x.example>", []string{a}, nil, ""},
		"a name in Latin-1":      {"To: \"Gr\xf6\xdfe\" <a@x.example>", []string{a}, nil, ""},
		"beyond ASCII":           {"To: größe@x.example", []string{"größe@x.example"}, nil, ""},
		"no address":             {"To: Smith, John <a@x.example>", []string{a}, nil, "To cannot be read"},
		"semicolons":             {"To: a@x.example; b@x.example", []string{a, b}, nil, "To cannot be read"},
		"no field in between":    {"To: a@x.example\r\nnonsense\r\nCc: eve@y.example", []string{a}, nil, "Cc names"},
		"resent to others":       {"To: a@x.example\r\nResent-To: eve@y.example", []string{a}, nil, ""},
		"a header without end":   {"X: " + strings.Repeat("x", 2<<20), []string{a}, nil, "more than"},
		"an endless one of many": {strings.Repeat("X: x\r\n", 1<<18), []string{a}, nil, "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			for form, r := range map[string]io.Reader{
				"a whole message": strings.NewReader(tc.header + "\r\n\r\nTo: body@y.example\r\n"),
				"a header":        strings.NewReader(tc.header),
				"a byte a time":   iotest.OneByteReader(strings.NewReader(tc.header + "\r\n\r\n")),
			} {
				got, err := mail.Unnamed(envelope(tc.to...), r)
				if tc.wrong == "" && (err != nil || !slices.Equal(got, tc.want)) {
					t.Errorf("%s: %q, %v, want %q", form, got, err, tc.want)
				}
				var he *mail.HeaderError
				if tc.wrong != "" && (!errors.As(err, &he) || !strings.Contains(err.Error(), tc.wrong)) {
					t.Errorf("%s: %v, want %q", form, err, tc.wrong)
				}
			}
		})
	}
}

// TestUnnamedBreaksOff: a message that cannot be read is not called malformed.
func TestUnnamedBreaksOff(t *testing.T) {
	gone := errors.New("the disk is gone")
	_, err := mail.Unnamed(envelope("a@x.example"), io.MultiReader(strings.NewReader("To: a@x.example\r\n"), iotest.ErrReader(gone)))
	var he *mail.HeaderError
	if !errors.Is(err, gone) || errors.As(err, &he) {
		t.Errorf("%v", err)
	}
}

// FuzzUnnamed: whatever the header is, an envelope that is not refused is served whole. Who is not returned is in the header.
func FuzzUnnamed(f *testing.F) {
	for _, s := range []string{
		"To: ann@x.example\r\n\r\nbody", "To: A <ann@x.example>,\r\n bob@x.example\r\nBcc: bob@x.example\r\n\r\n", "to:undisclosed-recipients:;\n\n",
		"Cc: \"a\" <ann@x.example>, g: bob@x.example;\r\n\r\n", "nonsense\r\n: \r\nTo", "Bcc: ann@x.example <bob@x.example>", "To: =?utf-8?q?a?= <bob@x.example>",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, header []byte) {
		bcc, err := mail.Unnamed(envelope("ann@x.example", "bob@x.example"), bytes.NewReader(header))
		if err != nil {
			return
		}
		plain := strings.ToLower(strings.ReplaceAll(string(header), `\`, "")) // RFC 5322 section 3.2.4: "\a" is a
		for _, name := range []string{"ann", "bob"} {
			if !slices.Contains(bcc, name+"@x.example") && !strings.Contains(plain, name) {
				t.Fatalf("%s is forgotten", name)
			}
		}
		if len(bcc) > 2 {
			t.Fatalf("%q", bcc)
		}
	})
}
