package graph

import (
	"bytes"
	"encoding/base64"
	"io"
	"testing"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
)

// FuzzTakenApart: whatever a message looks like, it is taken apart or refused for good, and nothing is read twice.
func FuzzTakenApart(f *testing.F) {
	for _, seed := range []string{
		"", "To: a@b\r\n\r\nx", "Subject: =?utf-8?q?=C3=B6?=\r\nX-A: 1\r\n\r\n", "From: a@b, c@d\r\nBcc: g:;\r\n\r\n",
		"Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n\r\ntext\r\n--m\r\nContent-Type: image/png; name=a\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n--m--\r\n",
		"Content-Type: multipart/related; boundary=\"\"\r\n\r\n--\r\n\r\n----", "Content-Type: text/html; charset=utf-16\r\n\r\n\xff\xfex\x00",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		b := mail.Bytes(raw)
		h, err := readHeader(b)
		if err == nil {
			_, err = reconcile(h, mail.Envelope{Recipients: []mail.Recipient{{Address: "a@b"}}})
		}
		if err != nil && fault.Of(err) != fault.Permanent {
			t.Fatalf("%v of kind %v", err, fault.Of(err))
		}
		m, sizes, err := rebuild(h, b)
		if err != nil && fault.Of(err) != fault.Permanent {
			t.Fatalf("%v of kind %v", err, fault.Of(err))
		}
		total := int64(0)
		for _, n := range sizes {
			total += n
		}
		if total > b.Size() || len(m.Headers) > maxCustom && err == nil {
			t.Errorf("%d bytes of attachments in a message of %d; %d fields", total, b.Size(), len(m.Headers))
		}
	})
}

// FuzzEncoder: the text is base64 of all of it, as long as was said.
func FuzzEncoder(f *testing.F) {
	f.Add([]byte(""), 1)
	f.Add(bytes.Repeat([]byte("abcd"), block), 7)
	f.Fuzz(func(t *testing.T, raw []byte, size int) {
		e := newEncoder(io.NopCloser(bytes.NewReader(raw)))
		var got []byte
		p := make([]byte, 1+min(max(size, 0), 1<<16))
		for {
			n, err := e.Read(p)
			got = append(got, p[:n]...)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if string(got) != base64.StdEncoding.EncodeToString(raw) || int64(len(got)) != encodedLength(int64(len(raw))) {
			t.Errorf("%d bytes became %d of text", len(raw), len(got))
		}
	})
}

// FuzzNextRange: what a server says of where to go on is a number that is not negative, or an error.
func FuzzNextRange(f *testing.F) {
	for _, seed := range []string{`{"nextExpectedRanges":["5-"]}`, `{"nextExpectedRanges":["5-9","12-"]}`, `{"nextExpectedRanges":["2097152"]}`, `{"nextExpectedRanges":["-1"]}`, `{}`, ``} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, said string) {
		if n, err := next(bytes.NewReader([]byte(said))); n < 0 || err != nil && fault.Of(err) != fault.Temporary {
			t.Errorf("%d, %v", n, err)
		}
	})
}
