package graph_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	netmail "net/mail"
	"strings"
	"testing"

	sandboxfault "mailporter/sandbox/fault"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
)

// wrapped is base64 in lines, as mail has it.
func wrapped(b []byte) string {
	var out strings.Builder
	for text := base64.StdEncoding.EncodeToString(b); len(text) > 0; {
		n := min(len(text), 76)
		out.WriteString(text[:n] + "\r\n")
		text = text[n:]
	}
	return out.String()
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 >> (i % 5))
	}
	return b
}

// largeHead is the header of a message to sales, hidden to nobody.
const largeHead = "From: <" + support + ">\r\nTo: S <" + sales + ">\r\nSubject: =?iso-8859-1?q?Gr=F6=DFe?=\r\nMessage-ID: <1@test.example>\r\n" +
	"In-Reply-To: <0@test.example>\r\nX-Ticket: 7\r\nMIME-Version: 1.0\r\n"

// large is a message with text in two forms, an image within it and files of these sizes.
func large(sizes ...int) mail.Bytes {
	var b strings.Builder
	b.WriteString(largeHead + "Content-Type: multipart/mixed; boundary=m\r\n\r\n")
	b.WriteString("--m\r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n--a\r\nContent-Type: text/plain\r\n\r\nplain\r\n")
	b.WriteString("--a\r\nContent-Type: multipart/related; boundary=r\r\n\r\n--r\r\nContent-Type: text/html; charset=iso-8859-1\r\n")
	b.WriteString("Content-Transfer-Encoding: quoted-printable\r\n\r\n<p>Gr=F6=DFe</p><img src=3D\"cid:i\">\r\n")
	b.WriteString("--r\r\nContent-Type: image/png\r\nContent-ID: <i>\r\nContent-Disposition: inline\r\nContent-Transfer-Encoding: base64\r\n\r\naW1hZ2U=\r\n--r--\r\n--a--\r\n")
	for i, n := range sizes {
		fmt.Fprintf(&b, "--m\r\nContent-Type: application/octet-stream; name=file%d\r\nContent-Transfer-Encoding: base64\r\n\r\n%s", i, wrapped(pattern(n)))
	}
	return mail.Bytes(b.String() + "--m--\r\n")
}

// contents are the parts of a message as they arrived, by name; the text has none.
func contents(t *testing.T, raw []byte) (header netmail.Header, parts map[string][]byte) {
	t.Helper()
	m, err := netmail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	parts = map[string][]byte{}
	for r := multipart.NewReader(m.Body, params["boundary"]); ; {
		p, err := r.NextPart()
		if err == io.EOF {
			return m.Header, parts
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(base64.NewDecoder(base64.StdEncoding, p))
		if err != nil {
			t.Fatal(err)
		}
		parts[p.FileName()+p.Header.Get("Content-ID")] = b
	}
}

// TestLarge: what is too large for a request of MIME goes in parts, and is whole when it arrives.
func TestLarge(t *testing.T) {
	sizes := []int{1_000, 2_999_999, 3_000_000, 3_276_800 * 2}
	w := newWorld(t)
	if _, err := w.transport(t, w.sending(t)).Send(t.Context(), to(sales, office), large(sizes...)); err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{sales, office} {
		got := w.Inbox(t, address)
		if len(got) != 1 {
			t.Fatalf("%s got %d messages", address, len(got))
		}
		h, parts := contents(t, got[0])
		subject, err := new(mime.WordDecoder).DecodeHeader(h.Get("Subject"))
		if err != nil || subject != "Größe" || h.Get("X-Ticket") != "7" || h.Get("In-Reply-To") != "<0@test.example>" || h.Get("Message-Id") != "<1@test.example>" || h.Get("Bcc") != "" {
			t.Errorf("header %v", h)
		}
		if got := string(parts[""]); got != `<p>Größe</p><img src="cid:i">` || string(parts["attachment<i>"]) != "image" {
			t.Errorf("text %q, image %q", got, parts["attachment<i>"])
		}
		for i, n := range sizes {
			if !bytes.Equal(parts[fmt.Sprint("file", i)], pattern(n)) {
				t.Errorf("the file of %d bytes is another one", n)
			}
		}
	}
	w.noneThrottled(t)
}

// TestUploadInTrouble: a part whose link breaks is taken up where the server is; a session that is lost leaves nothing.
func TestUploadInTrouble(t *testing.T) {
	for name, tc := range map[string]struct {
		rule sandboxfault.Rule
		kind fault.Kind
		sent bool
	}{
		"a part is lost":         {sandboxfault.Rule{Action: sandboxfault.Reset}, 0, true},
		"its answer is lost":     {sandboxfault.Rule{Action: sandboxfault.LoseAnswer}, 0, true},
		"its answer is cut":      {sandboxfault.Rule{Action: sandboxfault.Cut, Bytes: 10}, 0, true},
		"the session dies":       {sandboxfault.Rule{Action: sandboxfault.Forget, After: 1}, fault.Temporary, false},
		"the last answer lost":   {sandboxfault.Rule{Action: sandboxfault.LoseAnswer, After: 1}, fault.Temporary, false},
		"a gateway in between":   {sandboxfault.Rule{Action: sandboxfault.Reply, Status: 502, Body: "<html>"}, 0, true},
		"patience is asked for":  {sandboxfault.Rule{Action: sandboxfault.Reply, Status: 429}, 0, true},
		"the server is confused": {sandboxfault.Rule{Action: sandboxfault.Reply, Status: 200, Body: `{"nextExpectedRanges":["99999999"]}`}, fault.Temporary, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			tc.rule.Step, tc.rule.Count = "upload", 1
			w.Fault(tc.rule)
			_, err := w.transport(t, w.sending(t)).Send(t.Context(), to(sales), large(4_000_000))
			if (err == nil) != tc.sent || fault.Of(err) != tc.kind {
				t.Fatalf("%v of kind %v", err, fault.Of(err))
			}
			if err != nil && strings.Contains(err.Error(), "/upload/") {
				t.Errorf("the session's address shows in %v", err)
			}
			if n := len(w.Folder(t, "Drafts").Messages); n != 0 {
				t.Errorf("%d drafts stay behind", n)
			}
			got := w.Inbox(t, sales)
			if (len(got) == 1) != tc.sent {
				t.Fatalf("%d messages arrived", len(got))
			}
			if tc.sent {
				if _, parts := contents(t, got[0]); !bytes.Equal(parts["file0"], pattern(4_000_000)) {
					t.Error("the file is another one")
				}
			}
		})
	}
}

// TestLoss: what would not be the same in JSON is refused, with a reason, before anything is in the mailbox.
func TestLoss(t *testing.T) {
	filler := "--m\r\nContent-Type: application/octet-stream\r\n\r\n" + strings.Repeat("0123456789\r\n", 300_000) + "\r\n--m--\r\n"
	mixed := func(part string) string {
		return largeHead + "Content-Type: multipart/mixed; boundary=m\r\n\r\n--m\r\n" + part + "\r\n" + filler
	}
	for name, tc := range map[string]struct{ message, want string }{
		"signed":             {largeHead + "Content-Type: multipart/signed; boundary=m\r\n\r\n" + filler, "part 1 is multipart/signed"},
		"encrypted":          {largeHead + "Content-Type: application/pkcs7-mime\r\n\r\n" + filler, "part 1 is application/pkcs7-mime"},
		"an invitation":      {mixed("Content-Type: text/calendar\r\n\r\nBEGIN:VCALENDAR"), "part 1.1 is text/calendar"},
		"two texts":          {mixed("Content-Type: text/plain\r\n\r\none\r\n--m\r\n\r\ntwo"), "part 1.2 is a second text"},
		"a text too long":    {largeHead + "\r\n" + strings.Repeat("0123456789\r\n", 300_000), "text of more than"},
		"an unknown charset": {mixed("Content-Type: text/plain; charset=klingon\r\n\r\nx"), "part 1.1 is in a charset"},
		"odd encoding":       {mixed("Content-Type: image/png\r\nContent-Transfer-Encoding: x-uuencode\r\n\r\nx"), "unknown transfer encoding"},
		"broken base64":      {mixed("Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\n%%%"), "malformed"},
		"no last boundary":   {strings.TrimSuffix(mixed("\r\nx"), "--m--\r\n"), "malformed"},
		"a list's field":     {"List-Id: <l>\r\n" + mixed("\r\nx"), "field List-Id would be lost"},
		"six own fields":     {"X-A: 1\r\nX-B: 1\r\nX-C: 1\r\nX-D: 1\r\nX-E: 1\r\n" + mixed("\r\nx"), "6 fields that begin with X-"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			_, err := w.transport(t, w.sending(t)).Send(t.Context(), to(sales), mail.Bytes(tc.message))
			var e *fault.Error
			if !errors.As(err, &e) || e.Kind != fault.Permanent || e.Reason != "TOO_LARGE" || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
			if n := w.Sandbox.Stats().Graph.Requests; n != 0 {
				t.Errorf("%d requests were made", n)
			}
		})
	}
}
