package ewsd

import "testing"

func TestWithoutBcc(t *testing.T) {
	for in, want := range map[string]string{
		"Bcc: a\r\n b\r\nTo: c\r\nBCC : d\r\n\r\nBcc: e\r\n": "To: c\r\n\r\nBcc: e\r\n",
		"To: c\r\n\r\n":     "To: c\r\n\r\n",
		"To: c\nBcc: d\n\n": "To: c\n\n",
		"To: c":             "To: c",
		"":                  "",
	} {
		if got := string(withoutBcc([]byte(in))); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}
