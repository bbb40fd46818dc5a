package pop3_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"mailporter/workers/internal/providertest"
)

// deep is a multipart within a multipart and so on.
func deep(levels int) []byte {
	var b strings.Builder
	b.WriteString("Message-ID: <deep@test.example>\r\n")
	for i := range levels {
		fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n", i, i)
	}
	b.WriteString("\r\nend\r\n")
	for i := levels - 1; i >= 0; i-- {
		fmt.Fprintf(&b, "\r\n--%d--\r\n", i)
	}
	return []byte(b.String())
}

// hostile are messages that careless readers alter, lose, or die of.
func hostile() map[string][]byte {
	const header = "Subject: x\r\n\r\n"
	return map[string][]byte{
		"empty":                 {},
		"NUL":                   []byte(header + "a\x00b\r\n\x00\r\n"),
		"lone CR and LF":        []byte(header + "a\rb\nc\r\r\n\n.\nd\r.\r\n"),
		"LF, dot, CRLF":         []byte(header + "a\n.\r\nb\r\n"),
		"a line of a megabyte":  []byte(header + strings.Repeat("x", 1<<20) + "\r\n"),
		"a header of megabytes": []byte("Subject: " + strings.Repeat("x", 2<<20) + "\r\n\r\n"),
		"no end of the header":  []byte("Subject: x\r\n"),
		"only a line end":       []byte("\r\n"),
		"30 megabytes":          append([]byte(header), bytes.Repeat([]byte("0123456789abcd\r\n"), 30<<20/16)...),
		"dots everywhere":       []byte(".Subject: x\r\n\r\n" + strings.Repeat(".\r\n..\r\n...\r\n.a\r\n", 1000)),
		"nothing but a dot":     []byte(".\r\n"),
		"eight bits":            []byte(header + "\x80\xff\xfe caf\xc3\xa9\r\n"),
		"no last line end":      []byte(header + "a"),
		"1,000 levels":          deep(1000),
	}
}

func TestHostileMessagesArriveByteForByte(t *testing.T) {
	for _, mailbox := range []string{support, gmail} {
		t.Run(mailbox, func(t *testing.T) {
			w := newWorld(t)
			w.Mailbox = mailbox
			left := map[string]string{}
			for name, raw := range hostile() {
				w.deliver(t, raw)
				left[string(withLineEnd(raw))] = name
			}
			n := len(left)
			src := w.source(t, w.settings(t))
			items := providertest.Page(t, src, nil).Items
			if len(items) != n {
				t.Errorf("%d of %d messages are listed", len(items), n)
			}
			for _, it := range items {
				got := providertest.Read(t, src, it.ID)
				if _, ok := left[string(got)]; !ok {
					t.Errorf("%d bytes that nobody sent: %.60q", len(got), got)
				}
				delete(left, string(got))
			}
			for _, name := range left {
				t.Errorf("%s did not arrive", name)
			}
		})
	}
}
