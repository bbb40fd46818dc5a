package inboundtest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/mail"
)

// Awkward are messages that careless handling alters, loses or dies of, by name. The largest has 30 MB.
func Awkward() map[string][]byte {
	all := map[string]string{
		"plain":                      "Subject: a\r\n\r\nb\r\n",
		"nothing at all":             "",
		"one byte":                   "x",
		"one line feed":              "\n",
		"no header":                  "\r\nbody\r\n",
		"no header end":              "no header end",
		"no body":                    "Subject: a\r\n",
		"no line end":                "Subject: a\r\n\r\nb",
		"NUL":                        "Subject: a\x00b\r\n\r\n\x00\r\n\x00",
		"bare carriage returns":      "Subject: a\r\rb\r\r.\r",
		"bare line feeds":            "Subject: a\n\nFrom b\n.\n",
		"mixed line ends":            "Subject: a\r\nTo: b\nCc: c\rX: d\n\r\n\r\n\n\r.\r\r\n",
		"dots":                       ".\r\n..\r\nSubject: a\r\n\r\n.\r\n..\r\n.b\r\n\r\n.\r\n",
		"a dot at the start":         ".Subject: a\r\n\r\nb\r\n",
		"a dot at the end":           "Subject: a\r\n\r\nb\r\n.",
		"From at the start":          "From nobody\r\nSubject: a\r\n\r\nFrom me\r\n>From me\r\n",
		"8-bit header":               "Subject: \xe4\xf6\r\nFrom: caf\xc3\xa9 <a@b>\r\n\xfc: x\r\n\r\n",
		"invalid UTF-8":              "Subject: \xc3\x28 \xed\xa0\x80\r\n\r\n\x80\xff\xfe \xf8\x88\x80\x80\x80\r\n",
		"Message-ID of nonsense":     "Message-ID:\r\n\t<\x00\xff>\r\nMessage-ID: <a@b>\r\n\r\n",
		"words of protocols":         "Subject: ]]></t:MimeContent> &amp; &#0;\r\n\r\n)\r\nT1 OK done\r\n* BYE enough\r\n+ {5}\r\n-ERR\r\n250 2.0.0 fine\r\n]]>\r\n",
		"a long line":                "Subject: a\r\n\r\n" + strings.Repeat("x", 1<<20) + "\r\n",
		"a long line in the header":  "Subject: " + strings.Repeat("x", 1<<20) + "\r\nMessage-ID: <long@b>\r\n\r\nb\r\n",
		"a long header without end":  strings.Repeat("x", 1<<20),
		"a hundred thousand fields":  strings.Repeat("X-A: b\r\n", 100_000) + "\r\nb\r\n",
		"a header of four megabytes": strings.Repeat("X-A: 0123456789abcdef\r\n", 200_000) + "Message-ID: <late@b>\r\n\r\nb\r\n",
		"a thousand deep":            deep(1000),
		"thirty megabytes":           "Subject: a\r\n\r\n" + strings.Repeat("0123456789abcdef0123456789abcd\r\n", 30<<20/32),
	}
	out := map[string][]byte{}
	for name, raw := range all {
		out[name] = []byte(raw)
	}
	return out
}

// deep is a multipart in a multipart, and so on.
func deep(n int) string {
	var head, tail strings.Builder
	for i := range n {
		_, _ = fmt.Fprintf(&head, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
		_, _ = fmt.Fprintf(&tail, "--b%d--\r\n", n-1-i)
	}
	return head.String() + "\r\nx\r\n" + tail.String()
}

// Lone says whether a message has a CR or LF that is not part of a CRLF.
func Lone(raw []byte) bool {
	rest := bytes.ReplaceAll(raw, []byte("\r\n"), nil)
	return bytes.ContainsAny(rest, "\r\n")
}

// keyed is a sink in memory, which keeps one message per key.
type keyed struct {
	mu  sync.Mutex
	all map[string][]byte
}

// Put implements inbound.Sink.
func (k *keyed) Put(ctx context.Context, _ mail.Folder, it inbound.Item, b mail.Body) error {
	r, err := b.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.all == nil {
		k.all = map[string][]byte{}
	}
	k.all[it.Key] = raw
	return ctx.Err()
}

func (k *keyed) bodies() (all [][]byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, raw := range k.all {
		all = append(all, raw)
	}
	return all
}
