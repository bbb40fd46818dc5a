package sandbox_test

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/emersion/go-smtp"

	"mailporter/sandbox/idp"
)

// TestADaysRecipientsAreEnough: what a mailbox sends over one protocol counts for the others.
func TestADaysRecipientsAreEnough(t *testing.T) {
	c := contoso()
	c.Limits.RecipientsPerDay = 3
	sb := start(t, c)
	client := openSMTP(t, sb, support, appToken(t, sb, service))
	if err := send(client, support, letter(1), sales, "ann@elsewhere.example"); err != nil {
		t.Fatal(err)
	}
	var refused *smtp.SMTPError
	if err := send(client, support, letter(2), sales, "ann@elsewhere.example"); !errors.As(err, &refused) || !strings.Contains(refused.Message, "SubmissionQuotaExceeded") {
		t.Errorf("two more of three: %v", err)
	}
	g := newGraphSender(t, sb)
	path := g.draft(t, graphLetter)
	g.request(t, "POST", path+"/send", nil, nil).want(t, "the third", 202, "")
	path = g.draft(t, graphLetter)
	g.request(t, "POST", path+"/send", nil, nil).want(t, "the fourth", 429, "ErrorSubmissionQuotaExceeded")
	e := newEWS(t, sb, idp.Claims{Client: service, Roles: []string{"full_access_as_app"}})
	e.says(t, "ErrorSubmissionQuotaExceeded", createBody("SendOnly", plain, ""))
	if f, err := sb.Store().Folder(sales, "INBOX"); err != nil || len(f.Messages) != 2 {
		t.Errorf("%d messages, %v", len(f.Messages), err)
	}
}

// TestGraphUploadsAreEnough: what an application brings into a mailbox within five minutes.
func TestGraphUploadsAreEnough(t *testing.T) {
	c := contoso()
	c.Limits.GraphUploads = 1000
	sb := start(t, c)
	g := newGraphSender(t, sb)
	large := graphLetter + strings.Repeat("x", 500)
	path := g.draft(t, large)
	a := g.request(t, "POST", "messages", []byte(strings.Repeat("QUJD", 200)), map[string]string{"Content-Type": "text/plain"})
	a.want(t, "too much", 429, "ApplicationThrottled")
	if wait, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || wait < 1 || wait > 300 {
		t.Errorf("Retry-After %q", a.header.Get("Retry-After"))
	}
	g.request(t, "POST", path+"/send", nil, nil).want(t, "what brings nothing", 202, "")
	if n := sb.Stats().Graph.Throttled; n != 1 {
		t.Errorf("%d requests were throttled", n)
	}
}

// TestGraphUnknownRecipient: Graph takes the message and reports.
func TestGraphUnknownRecipient(t *testing.T) {
	sb := start(t, contoso())
	g := newGraphSender(t, sb)
	path := g.draft(t, strings.Replace(graphLetter, "<"+sales+">", "<"+sales+">, <nobody@contoso.example>", 1))
	g.request(t, http.MethodPost, path+"/send", nil, nil).want(t, "send", 202, "")
	f, err := sb.Store().Folder(support, "INBOX")
	if err != nil || len(f.Messages) != 1 {
		t.Fatalf("%d reports, %v", len(f.Messages), err)
	}
	if raw, err := f.Messages[0].Raw(); err != nil || !strings.Contains(string(raw), "rfc822;nobody@contoso.example") {
		t.Errorf("%s, %v", raw, err)
	}
	if out := sb.Store().Outbound(); len(out) != 0 {
		t.Errorf("it left: %+v", out)
	}
}
