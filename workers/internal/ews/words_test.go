package ews

import (
	"bytes"
	"encoding/base64"
	"errors"
	"flag"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
)

var update = flag.Bool("update", false, "write the golden requests anew")

// TestRequests: every request is the one that was validated against Microsoft's schema.
func TestRequests(t *testing.T) {
	marked := item{}
	marked.ID.ID, marked.ID.ChangeKey = "AAA+/=", "CCC"
	folder := `<t:FolderId Id="FFF="/>`
	waiting := draft{Version: version, Mark: "MMM", ID: "AAA+/=", ChangeKey: "CCC"}
	for name, r := range map[string]request{
		"sync-first":    {body: syncBody(inboxID, "", 100)},
		"sync-next":     {body: syncBody(folder, "H4sIAAA=", 512)},
		"get-mime":      {body: mimeBody("AAA+/=")},
		"get-keys":      {body: keysBody([]string{"AAA", "BBB"})},
		"update":        {body: updateBody([]item{marked, marked})},
		"delete":        {body: deleteBody([]string{"AAA", "BBB"})},
		"move":          {body: moveBody(folder, []string{"AAA", "BBB"})},
		"find-folder":   {body: findFolderBody(rootID, `Bob's "<&> Größe`)},
		"create-folder": {body: createFolderBody(folder, `Bob's "<&> Größe`)},
		"count":         {body: countBody},
		"oldest":        {body: oldestBody},
		"subscribe":     {body: subscribeBody(inboxID)},
		"events":        {body: eventsBody("SSS=", 29)},
		"unsubscribe":   {body: unsubscribeBody("SSS=")},
		"create":        createRequest("", "MMM", nil, mail.Bytes("From: a\r\n\r\n")),
		"create-bcc":    createRequest("shared&co@example.test", "MMM", []string{"hidden@example.test", `"<&>"@example.test`}, mail.Bytes("From: a\r\n\r\nb")),
		"send":          sendRequest("", waiting),
		"send-shared":   sendRequest("shared&co@example.test", waiting),
		"find":          findRequest("", "MMM"),
		"find-shared":   findRequest("shared&co@example.test", "MMM"),
	} {
		for impersonate, suffix := range map[string]string{"": "", "box&co@example.test": "-impersonated"} {
			path := filepath.Join("testdata", "requests", name+suffix+".xml")
			got := wireForm(t, r, impersonate)
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s (%v):\n%s\nwant\n%s", path, err, got, want)
			}
		}
	}
}

// wireForm is a request's body as the server gets it.
func wireForm(t *testing.T, r request, impersonate string) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://localhost", nil)
	if err == nil {
		err = r.fill(req, impersonate)
	}
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(req.Body)
	if err := errors.Join(err, req.Body.Close()); err != nil || int64(len(b)) != req.ContentLength {
		t.Fatalf("%d bytes, announced %d: %v", len(b), req.ContentLength, err)
	}
	return b
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"a&#x0B;b":             "ab",
		"a&#11;b&#x9;&#10;":    "ab&#x9;&#10;",
		"&#xD800;&#xFFFE;&#0;": "",
		"&#x1F600;":            "&#x1F600;",
		"a\x00b\x0bc\td":       "abc\td",
		"&amp;&#xZ;":           "&amp;&#xZ;",
		"Größe":                "Größe",
	} {
		if got := string(clean([]byte(in))); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

const answer = `<?xml version="1.0" encoding="utf-8"?><s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body><m:GetItemResponse><m:ResponseMessages>` +
	`<m:GetItemResponseMessage ResponseClass="Success"><m:ResponseCode>NoError</m:ResponseCode><m:Items><t:Message><t:MimeContent CharacterSet="UTF-8">MIME</t:MimeContent>` +
	`<t:ItemId Id="AAA" ChangeKey="CCC"/></t:Message></m:Items></m:GetItemResponseMessage></m:ResponseMessages></m:GetItemResponse></s:Body></s:Envelope>`

func readContent(t *testing.T, r io.Reader) ([]byte, error) {
	t.Helper()
	c, err := openContent(io.NopCloser(r))
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(c)
	return b, errors.Join(err, c.Close())
}

// TestContent: the bytes come out as they went in, however the answer is broken into pieces and lines.
func TestContent(t *testing.T) {
	long := bytes.Repeat([]byte("0123456789abcdef\r\n\x00\xff"), 10_000)
	for name, raw := range map[string][]byte{"plain": []byte("Subject: a\r\n\r\nb\r\n"), "empty": {}, "one byte": {0}, "long": long} {
		encoded := base64.StdEncoding.EncodeToString(raw)
		for form, text := range map[string]string{
			"one line":   encoded,
			"lines":      wrap(encoded, "\r\n"),
			"references": wrap(encoded, "&#xD;\n"),
		} {
			whole := strings.Replace(answer, "MIME", text, 1)
			for way, r := range map[string]io.Reader{
				"whole": strings.NewReader(whole), "bytes": iotest.OneByteReader(strings.NewReader(whole)), "with its end": iotest.DataErrReader(strings.NewReader(whole)),
			} {
				if got, err := readContent(t, r); err != nil || !bytes.Equal(got, raw) {
					t.Errorf("%s, %s, %s: %d bytes of %d, %v", name, form, way, len(got), len(raw), err)
				}
			}
		}
	}
}

func wrap(text, end string) string {
	var b strings.Builder
	for len(text) > 76 {
		b.WriteString(text[:76] + end)
		text = text[76:]
	}
	return b.String() + text + end
}

// TestCutContent: an answer that ends early is never a whole message, wherever it ends.
func TestCutContent(t *testing.T) {
	whole := strings.Replace(answer, "MIME", base64.StdEncoding.EncodeToString([]byte("Subject: a\r\n\r\nbody\r\n")), 1)
	for n := range len(whole) {
		if got, err := readContent(t, strings.NewReader(whole[:n])); err == nil {
			t.Fatalf("%d of %d bytes are taken for the message %q", n, len(whole), got)
		}
	}
}

func TestBadContent(t *testing.T) {
	for name, text := range map[string]string{"no base64": "%%%%", "half a group": "QUJ", "markup": "QUJD<b/>QUJD", "a long reference": "QUJD&aaaaaaaaaaaaaaaaaaaaaaaa"} {
		if got, err := readContent(t, strings.NewReader(strings.Replace(answer, "MIME", text, 1))); err == nil && name != "markup" {
			t.Errorf("%s: %q", name, got)
		}
	}
}

func TestContentErrors(t *testing.T) {
	problem := func(code, more string) string {
		return `<Envelope><Body><GetItemResponse><ResponseMessages><GetItemResponseMessage ResponseClass="Error"><MessageText>So it is.</MessageText><ResponseCode>` + code +
			`</ResponseCode>` + more + `</GetItemResponseMessage></ResponseMessages></GetItemResponse></Body></Envelope>`
	}
	for name, tc := range map[string]struct {
		text  string
		kind  fault.Kind
		after time.Duration
	}{
		"gone":      {problem("ErrorItemNotFound", ""), fault.Gone, 0},
		"corrupt":   {problem("ErrorItemCorrupt", ""), fault.Permanent, 0},
		"busy":      {problem("ErrorInternalServerError", `<MessageXml><Value Name="Other">1</Value><Value Name="BackOffMilliseconds">1500</Value></MessageXml>`), fault.Throttled, 1500 * time.Millisecond},
		"nothing":   {"<Envelope/>", fault.Temporary, 0},
		"no XML":    {"<html><br></html>", fault.Temporary, 0},
		"unheardof": {problem("ErrorOfTomorrow", ""), fault.Temporary, 0},
	} {
		_, err := readContent(t, strings.NewReader(tc.text))
		if err == nil || fault.Of(err) != tc.kind || fault.After(err) != tc.after {
			t.Errorf("%s: %v (%s, after %v)", name, err, fault.Of(err), fault.After(err))
		}
	}
}

func FuzzCursor(f *testing.F) {
	for _, s := range []string{`{"v":1,"state":"H4sI"}`, "", "null", "{}", `{"v":2,"state":"x"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		at, err := readCursor(b)
		if err != nil {
			if fault.Of(err) != fault.CursorLost {
				t.Fatalf("%q: %v", b, err)
			}
			return
		}
		again, err := at.bytes()
		if err != nil {
			t.Fatal(err)
		}
		if two, err := readCursor(again); err != nil || two != at {
			t.Fatalf("%s is read as %+v, %v", again, two, err)
		}
	})
}

// FuzzContent: no answer makes it panic or run on, and what it takes for a whole message ends with the envelope.
func FuzzContent(f *testing.F) {
	f.Add([]byte(strings.Replace(answer, "MIME", "QUJD", 1)))
	f.Add([]byte(strings.Replace(answer, "MIME", "QU&#xD;\r\nJD", 1)))
	f.Add([]byte("<Envelope><Value Name='BackOffMilliseconds'>1</Value></Envelope>"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := readContent(t, bytes.NewReader(b))
		if err == nil && (len(got) > len(b) || !bytes.Contains(b, []byte("Envelope>"))) {
			t.Fatalf("%q is taken for %q", b, got)
		}
	})
}

// FuzzAnswer: no answer makes the parser panic, and its errors are bounded.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(strings.Replace(answer, "MIME", "QUJD", 1)))
	f.Add([]byte(`<Envelope><Body><Fault><faultstring>a</faultstring><detail><ResponseCode>ErrorServerBusy</ResponseCode><MessageXml><Value Name="BackOffMilliseconds">297749</Value></MessageXml></detail></Fault></Body></Envelope>`))
	f.Add([]byte(`<Envelope><Body><X><ResponseMessages><M ResponseClass="Error"><MessageText>&#x0B;</MessageText></M></ResponseMessages></X></Body></Envelope>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := parse(b)
		if err != nil {
			return
		}
		for _, m := range d.Body.Operation.ResponseMessages.All {
			if err := m.fault(); err != nil && (fault.After(err) < 0 || fault.After(err) > time.Hour) {
				t.Fatalf("wait %v", fault.After(err))
			}
		}
		if d.Body.Fault != nil && d.Body.Fault.fault() == nil {
			t.Fatal("a fault is none")
		}
	})
}
