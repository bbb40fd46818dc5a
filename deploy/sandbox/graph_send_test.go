package sandbox_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"mailporter/sandbox"
	"mailporter/sandbox/fault"
	"mailporter/sandbox/mailstore"
)

const graphLetter = "From: <" + support + ">\r\nTo: <" + sales + ">\r\nSubject: x\r\n\r\n.caf\xe9\r\n"

// newGraphSender may send, and asks for immutable ids.
func newGraphSender(t *testing.T, sb *sandbox.Sandbox) *graph {
	t.Helper()
	g := newGraph(t, sb, app("Mail.ReadWrite", "Mail.Send"))
	g.prefer = `IdType="ImmutableId"`
	return g
}

// request sends one with a header of its own; the token goes along unless the path is absolute.
func (g *graph) request(t *testing.T, method, path string, body []byte, header map[string]string) graphAnswer {
	t.Helper()
	target, token := path, ""
	if !strings.HasPrefix(path, "https://") {
		target, token = g.sandbox.GraphURL()+"/v1.0/users/"+support+"/"+path, "Bearer "+g.token
	}
	req, err := http.NewRequestWithContext(t.Context(), method, target, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", token)
	}
	req.Header.Set("Prefer", g.prefer)
	for k, v := range header {
		req.Header.Set(k, v)
	}
	res, err := g.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := graphAnswer{status: res.StatusCode, header: res.Header, raw: b}
	_ = json.Unmarshal(b, &a) // not all answers are JSON
	return a
}

// draft makes one of MIME and returns its path.
func (g *graph) draft(t *testing.T, raw string) string {
	t.Helper()
	a := g.request(t, "POST", "messages", []byte(base64.StdEncoding.EncodeToString([]byte(raw))), map[string]string{"Content-Type": "text/plain"})
	a.want(t, "draft", 201, "")
	return "messages/" + url.PathEscape(a.ID)
}

func (g *graph) write(t *testing.T, method, path, body string) graphAnswer {
	t.Helper()
	return g.request(t, method, path, []byte(body), map[string]string{"Content-Type": "application/json"})
}

// holds is what lies in a folder.
func holds(t *testing.T, sb *sandbox.Sandbox, mailbox, folder string) (all []string) {
	t.Helper()
	f, err := sb.Store().Folder(mailbox, folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range f.Messages {
		raw, err := m.Raw()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(raw))
	}
	return all
}

func mustHold(t *testing.T, sb *sandbox.Sandbox, mailbox, folder string, want ...string) {
	t.Helper()
	got := holds(t, sb, mailbox, folder)
	if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) {
		t.Errorf("%s of %s holds %.300q, want %.300q", folder, mailbox, got, want)
	}
}

// TestGraphDraftIsSent: the id of the draft is that of the copy in Sent Items, and the bytes are the same all the way.
func TestGraphDraftIsSent(t *testing.T) {
	sb := start(t, contoso())
	g := newGraphSender(t, sb)
	path := g.draft(t, graphLetter)
	if a := g.request(t, "GET", path, nil, nil); !strings.Contains(string(a.raw), `"isDraft":true`) {
		t.Errorf("%s", a.raw)
	}
	mustHold(t, sb, support, "Drafts", graphLetter)
	g.request(t, "POST", path+"/send", nil, nil).want(t, "send", 202, "")
	if a := g.request(t, "GET", path, nil, nil); !strings.Contains(string(a.raw), `"isDraft":false`) {
		t.Errorf("%s", a.raw)
	}
	mustHold(t, sb, support, "Drafts")
	mustHold(t, sb, support, "Sent Items", graphLetter)
	mustHold(t, sb, sales, "INBOX", graphLetter)
	g.request(t, "POST", path+"/send", nil, nil).want(t, "send again", 400, "ErrorInvalidOperation")
	if n := sb.Stats().Graph.Sent[support]; n != 1 {
		t.Errorf("%d messages were counted", n)
	}
}

// TestGraphRecipients: those of the draft's fields get it, Bcc unseen, others' domains by the list of what left.
func TestGraphRecipients(t *testing.T) {
	sb := start(t, contoso())
	g := newGraphSender(t, sb)
	path := g.draft(t, graphLetter)
	to := func(a string) string { return `{"emailAddress":{"address":"` + a + `"}}` }
	g.write(t, "PATCH", path, `{"bccRecipients":[`+to(shared)+`,`+to("ann@elsewhere.example")+`]}`).want(t, "patch", 200, "")
	g.request(t, "POST", path+"/send", nil, nil).want(t, "send", 202, "")
	mustHold(t, sb, sales, "INBOX", graphLetter)
	mustHold(t, sb, shared, "INBOX", graphLetter)
	mustHold(t, sb, support, "Sent Items", "Bcc: <"+shared+">,\r\n <ann@elsewhere.example>\r\n"+graphLetter)
	out := sb.Store().Outbound()
	if len(out) != 1 || fmt.Sprint(out[0].To) != "[ann@elsewhere.example]" {
		t.Fatalf("%+v", out)
	}
	if raw, err := out[0].Raw(); err != nil || string(raw) != graphLetter {
		t.Errorf("%q, %v", raw, err)
	}
}

func TestGraphSendingRefused(t *testing.T) {
	sb := start(t, contoso())
	g := newGraphSender(t, sb)
	other := strings.Replace(graphLetter, support, shared, 1)
	for name, tc := range map[string]struct {
		raw    string
		status int
		code   string
	}{
		"another sender":       {other, 403, "ErrorSendAsDenied"},
		"nobody to send to":    {strings.Replace(graphLetter, "To:", "X:", 1), 400, "ErrorInvalidRecipients"},
		"a recipient unread":   {strings.Replace(graphLetter, sales, "sales", 1), 400, "ErrorInvalidRecipients"},
		"a sender unread":      {strings.Replace(graphLetter, support, "@@", 1), 400, "ErrorMimeContentInvalid"},
		"a recipient not here": {strings.Replace(graphLetter, sales, "nobody@contoso.example", 1), 202, ""},
	} {
		t.Run(name, func(t *testing.T) {
			g.request(t, "POST", g.draft(t, tc.raw)+"/send", nil, nil).want(t, name, tc.status, tc.code)
			body := base64.StdEncoding.EncodeToString([]byte(tc.raw))
			g.request(t, "POST", "sendMail", []byte(body), map[string]string{"Content-Type": "text/plain"}).want(t, "sendMail", tc.status, tc.code)
		})
	}
	text := map[string]string{"Content-Type": "text/plain"}
	g.request(t, "POST", "messages", []byte("%%%"), text).want(t, "no base64", 400, "ErrorMimeContentInvalidBase64String")
	g.request(t, "POST", "messages", []byte("bm8gaGVhZGVy"), text).want(t, "no MIME", 400, "ErrorMimeContentInvalid")
	g.request(t, "POST", "messages", make([]byte, 5<<20), text).want(t, "too large", 413, "RequestEntityTooLarge")
	g.request(t, "POST", g.draft(t, graphLetter)+"/send", []byte("{}"), nil).want(t, "a body", 411, "BadRequest")
	g.write(t, "POST", "messages", `{"colour":"red"}`).want(t, "an unknown property", 400, "RequestBodyRead")
	reader := newGraph(t, sb, app("Mail.ReadWrite"))
	reader.request(t, "POST", g.draft(t, graphLetter)+"/send", nil, nil).want(t, "without Mail.Send", 403, "ErrorAccessDenied")
	sender := newGraph(t, sb, app("Mail.Send"))
	sender.request(t, "POST", "messages", nil, text).want(t, "without Mail.ReadWrite", 403, "ErrorAccessDenied")
}

// TestGraphAttachments: small ones in one request, large ones part by part without a token.
func TestGraphAttachments(t *testing.T) {
	sb := start(t, contoso())
	g := newGraphSender(t, sb)
	a := g.write(t, "POST", "messages", `{"subject":"big","body":{"contentType":"text","content":"hello"},"toRecipients":[{"emailAddress":{"address":"`+sales+`"}}],
		"internetMessageHeaders":[{"name":"X-Id","value":"7"}]}`)
	a.want(t, "draft", 201, "")
	path := "messages/" + url.PathEscape(a.ID)
	g.write(t, "POST", path+"/attachments", `{"@odata.type":"#microsoft.graph.fileAttachment","name":"a.txt","contentType":"text/plain","contentBytes":"c21hbGw="}`).want(t, "small", 201, "")
	large := bytes.Repeat([]byte("0123456789abcdef"), 5<<20/16)
	s := g.write(t, "POST", path+"/attachments/createUploadSession", fmt.Sprintf(`{"AttachmentItem":{"attachmentType":"file","name":"b.bin","size":%d}}`, len(large)))
	s.want(t, "session", 201, "")
	var session struct{ UploadURL string }
	if err := json.Unmarshal(s.raw, &session); err != nil {
		t.Fatal(err)
	}
	half := 3 << 20
	part := func(from, to int) map[string]string {
		return map[string]string{"Content-Range": fmt.Sprintf("bytes %d-%d/%d", from, to-1, len(large))}
	}
	withToken := part(0, half)
	withToken["Authorization"] = "Bearer " + g.token
	g.request(t, "PUT", session.UploadURL, large[:half], withToken).want(t, "a token", 401, "InvalidAuthenticationToken")
	first := g.request(t, "PUT", session.UploadURL, large[:half], part(0, half))
	if first.want(t, "first part", 200, ""); !strings.Contains(string(first.raw), `"3145728-"`) {
		t.Errorf("%s", first.raw)
	}
	g.request(t, "PUT", session.UploadURL, large[:half], part(0, half)).want(t, "again", 416, "ErrorInvalidRange")
	g.request(t, "PUT", session.UploadURL, large[half:], part(half, len(large))).want(t, "last part", 201, "")
	g.request(t, "PUT", session.UploadURL, large[half:], part(half, len(large))).want(t, "too late", 404, "ErrorItemNotFound")
	g.request(t, "POST", path+"/send", nil, nil).want(t, "send", 202, "")
	got := strings.Join(holds(t, sb, sales, "INBOX"), "")
	for _, want := range []string{"X-Id: 7\r\n", "aGVsbG8=", "c21hbGw=", "a.txt", "b.bin", base64.StdEncoding.EncodeToString(large)[:60]} {
		if !strings.Contains(got, want) {
			t.Errorf("the message lacks %q", want)
		}
	}
}

// TestGraphSendingFails: an answer that is lost after the effect, and a session that dies.
func TestGraphSendingFails(t *testing.T) {
	sb := start(t, contoso())
	g := newGraphSender(t, sb)
	path := g.draft(t, graphLetter)
	sb.Faults().Add(fault.Rule{Target: fault.Graph, Step: "send", Action: fault.LoseAnswer, Count: 1})
	req, err := http.NewRequestWithContext(t.Context(), "POST", sb.GraphURL()+"/v1.0/users/"+support+"/"+path+"/send", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+g.token)
	if res, err := g.client.Do(req); err == nil {
		res.Body.Close()
		t.Fatalf("answered %d", res.StatusCode)
	}
	mustHold(t, sb, sales, "INBOX", graphLetter)
	sb.Faults().Add(fault.Rule{Target: fault.Graph, Step: "send", Action: fault.Reply, Status: 429, RetryAfter: 3 * time.Second, Count: 1})
	if a := g.request(t, "POST", g.draft(t, graphLetter)+"/send", nil, nil); a.status != 429 || a.header.Get("Retry-After") != "3" {
		t.Errorf("%d %v", a.status, a.header)
	}
	sb.Faults().Add(fault.Rule{Target: fault.Graph, Step: "upload", Action: fault.Forget, Count: 1})
	g.request(t, "PUT", sb.GraphURL()+"/upload/x", nil, nil).want(t, "no session", 404, "ErrorItemNotFound")
}

// TestDraftsAfterARestart: a draft whose parts were forgotten is no mistake of the client's, who may make another one.
func TestDraftsAfterARestart(t *testing.T) {
	c := contoso()
	c.Data = t.TempDir()
	sb := start(t, c)
	g := newGraphSender(t, sb)
	made := g.write(t, "POST", "messages", `{"subject": "s", "toRecipients": [{"emailAddress": {"address": "`+sales+`"}}]}`)
	made.want(t, "draft", 201, "")
	forgotten := "messages/" + url.PathEscape(made.ID)
	if err := sb.Close(); err != nil {
		t.Fatal(err)
	}
	g = newGraphSender(t, start(t, c))
	const file = `{"@odata.type": "#microsoft.graph.fileAttachment", "name": "a", "contentBytes": "aGk="}`
	g.write(t, "POST", forgotten+"/attachments", file).want(t, "forgotten", 500, "ErrorInternalServerError")
	g.write(t, "POST", g.draft(t, graphLetter)+"/attachments", file).want(t, "of MIME", 400, "ErrorInvalidOperation")
}

// TestReplaceIsDurable: a draft that was changed is the changed one after a restart, under its id.
func TestReplaceIsDurable(t *testing.T) {
	dir := t.TempDir()
	s, err := mailstore.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Create(support, mailstore.Exchange()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Deliver([]byte("one"), []mailstore.Target{{Mailbox: support, Folder: "Drafts"}}, nil); err != nil {
		t.Fatal(err)
	}
	before, err := s.Folder(support, "Drafts")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Replace(support, "Drafts", before.Messages[0].UID, []byte("three")); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if s, err = mailstore.Open(dir); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	after, err := s.Folder(support, "Drafts")
	if err != nil || len(after.Messages) != 1 {
		t.Fatal(after, err)
	}
	m := after.Messages[0]
	if raw, err := m.Raw(); err != nil || string(raw) != "three" || m.Size != 5 || m.ID != before.Messages[0].ID {
		t.Errorf("%q of %d bytes, %v", raw, m.Size, err)
	}
}
