package folder

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"mailporter/workers/internal/mail"
)

// FuzzFile: whatever is dropped, it is refused, or its message is the file but for what had to be taken out, and its Bcc is gone.
func FuzzFile(f *testing.F) {
	for _, s := range []string{
		explicit + "Subject: a\r\n\r\nb", "From: a@b\r\nBcc: c@d,\r\n e@f\r\nTo: g@h\r\n\r\nBcc: i", "From: a@b\nBcc: c@d\n\nx\n", "X-Receiver: a\n\n", "Bcc:\r\n", ":\r\n x\r\n\r\n", "BCC : x@y\r\n",
		utf8Mark + "Bcc: a@b\n\n", "From a@b Sat Nov 21 10:00:00 2026\nBcc: a@b\n\n", "From : a@b\n\n", utf8Mark + "From a\r\n" + explicit, utf8Mark,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		h, err := readHead(bytes.NewReader(raw))
		if err != nil {
			return
		}
		_, _ = h.envelope()
		got, err := io.ReadAll(h.message(bytes.NewReader(raw)))
		if err != nil {
			t.Fatal(err)
		}
		if h.explicit {
			if want := plain(raw[h.end:], h.unix); !bytes.Equal(got, want) {
				t.Fatalf("%q of %q", got, raw)
			}
			return
		}
		if !strings.Contains(strings.ToLower(string(raw[:h.end])), "bcc") {
			if want := plain(raw[h.start:], h.unix); !bytes.Equal(got, want) {
				t.Fatalf("%q of %q", got, raw)
			}
			return
		}
		again, err := readHead(bytes.NewReader(got))
		if err != nil || again.explicit { // what is left begins with another line
			return
		}
		for _, field := range again.fields {
			if field.name == "bcc" {
				t.Fatalf("%q of %q", got, raw)
			}
		}
	})
}

// plain is the plain way to end lines with CRLF.
func plain(raw []byte, unix bool) []byte {
	if unix {
		return bytes.ReplaceAll(raw, []byte("\n"), []byte("\r\n"))
	}
	return raw
}

func TestAddresses(t *testing.T) {
	all, err := mail.Addresses("To", ` "john doe"@x.example, A <a@x.example>, g: b@x.example;`)
	if err != nil || strings.Join(all, " ") != `"john doe"@x.example a@x.example b@x.example` {
		t.Errorf("%q, %v", all, err)
	}
}
