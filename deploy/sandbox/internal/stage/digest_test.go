package stage

import (
	"strings"
	"testing"
)

// TestDigest: who takes a large message apart and puts it together may write its header and its lines as he likes, but
// what it holds stays.
func TestDigest(t *testing.T) {
	const message = "From: <a@x.example>\r\nTo: <b@x.example>\r\nSubject: s\r\nMessage-ID: <1@x>\r\nContent-Type: multipart/mixed; boundary=p\r\n\r\n" +
		"--p\r\nContent-Type: text/plain\r\n\r\nlook\r\n--p\r\nContent-Disposition: attachment; filename=a.bin\r\nContent-Transfer-Encoding: base64\r\n\r\naGVs\r\nbG8=\r\n--p--\r\n"
	for name, c := range map[string]struct {
		old, new string
		same     bool
	}{
		"untouched":             {"", "", true},
		"another boundary":      {"p", "q", false}, // of everything: also of the addresses
		"other lines":           {"aGVs\r\nbG8=", "aGVsbG8=", true},
		"names":                 {"<a@x.example>", `"A" <a@x.example>`, true},
		"another recipient":     {"b@x", "c@x", false},
		"another subject":       {"Subject: s", "Subject: t", false},
		"a byte of the file":    {"bG8=", "bG9=", true}, // the same byte, written in another way
		"another file":          {"bG8=", "bG4=", false},
		"another name":          {"a.bin", "b.bin", false},
		"another text":          {"look", "lock", false},
		"the file is missing":   {"Content-Disposition: attachment; filename=a.bin\r\nContent-Transfer-Encoding: base64\r\n\r\naGVs\r\nbG8=\r\n--p", "", false},
		"a file that is a mess": {"aGVs", "a***", false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Digest([]byte(strings.ReplaceAll(message, c.old, c.new))) == Digest([]byte(message)); got != c.same && c.old != "" {
				t.Errorf("same: %v, want %v", got, c.same)
			}
		})
	}
}
