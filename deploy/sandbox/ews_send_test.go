package sandbox_test

import (
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"mailporter/sandbox"
	"mailporter/sandbox/fault"
	"mailporter/sandbox/idp"
)

const (
	mark     = `<t:ExtendedFieldURI DistinguishedPropertySetId="PublicStrings" PropertyName="mark" PropertyType="String"/>`
	findBody = `<m:FindItem Traversal="Shallow"><m:ItemShape><t:BaseShape>IdOnly</t:BaseShape><t:AdditionalProperties><t:FieldURI FieldURI="item:IsDraft"/></t:AdditionalProperties></m:ItemShape>` +
		`<m:IndexedPageItemView MaxEntriesReturned="1" Offset="0" BasePoint="Beginning"/><m:Restriction><t:IsEqualTo>%s<t:FieldURIOrConstant><t:Constant Value="%s"/></t:FieldURIOrConstant></t:IsEqualTo></m:Restriction>` +
		`<m:ParentFolderIds><t:DistinguishedFolderId Id="drafts"/><t:DistinguishedFolderId Id="outbox"/><t:DistinguishedFolderId Id="sentitems"/></m:ParentFolderIds></m:FindItem>`
	plain = "From: <support@contoso.example>\r\nTo: <sales@contoso.example>\r\nMessage-ID: <1@x.example>\r\n\r\nHello.\r\n"
)

func createBody(disposition, raw, more string) string {
	return `<m:CreateItem MessageDisposition="` + disposition + `"><m:Items><t:Message><t:MimeContent CharacterSet="UTF-8">` + base64.StdEncoding.EncodeToString([]byte(raw)) +
		`</t:MimeContent>` + more + `</t:Message></m:Items></m:CreateItem>`
}

func bccOf(address string) string {
	return "<t:BccRecipients><t:Mailbox><t:EmailAddress>" + address + "</t:EmailAddress></t:Mailbox></t:BccRecipients>"
}

func sendBody(id string) string {
	return `<m:SendItem SaveItemToFolder="true"><m:ItemIds>` + id + `</m:ItemIds><m:SavedItemFolderId><t:DistinguishedFolderId Id="sentitems"/></m:SavedItemFolderId></m:SendItem>`
}

var itemID = regexp.MustCompile(`<t:ItemId Id="[^"]*" ChangeKey="[^"]*"/>`)

// draft makes one and returns its id.
func (e *ews) draft(t *testing.T, raw, more string) string {
	t.Helper()
	_, text := e.do(t, createBody("SaveOnly", raw, more))
	id := itemID.FindString(text)
	if id == "" {
		t.Fatalf("create: %s", text)
	}
	return id
}

// says runs a request and wants a response code.
func (e *ews) says(t *testing.T, code, body string) {
	t.Helper()
	if _, text := e.do(t, body); !strings.Contains(text, ">"+code+"<") {
		t.Errorf("want %s: %s", code, text)
	}
}

func sender(t *testing.T) (*sandbox.Sandbox, *ews) {
	t.Helper()
	sb := start(t, contoso())
	return sb, newEWS(t, sb, idp.Claims{Client: service, Roles: []string{"full_access_as_app"}})
}

// lies compares what is in a folder.
func lies(t *testing.T, sb *sandbox.Sandbox, mailbox, folder string, want ...string) {
	t.Helper()
	f, err := sb.Store().Folder(mailbox, folder)
	if err != nil || len(f.Messages) != len(want) {
		t.Errorf("%s of %s: %d messages, %v, want %d", folder, mailbox, len(f.Messages), err, len(want))
		return
	}
	for i, m := range f.Messages {
		if raw, err := m.Raw(); err != nil || string(raw) != want[i] {
			t.Errorf("%s of %s: %q, %v, want %q", folder, mailbox, raw, err, want[i])
		}
	}
}

// TestEWSDraft: a draft is found by its property before and after it is sent; its id is void then.
func TestEWSDraft(t *testing.T) {
	sb, e := sender(t)
	id := e.draft(t, plain, "<t:ExtendedProperty>"+mark+"<t:Value>one</t:Value></t:ExtendedProperty>"+bccOf(shared))
	lies(t, sb, support, "Drafts", plain)
	for name, where := range map[string]string{"property": mark, "Message-ID": `<t:FieldURI FieldURI="message:InternetMessageId"/>`} {
		value := map[string]string{"property": "one", "Message-ID": "&lt;1@x.example&gt;"}[name]
		if _, text := e.do(t, fmt.Sprintf(findBody, where, value)); strings.Count(text, "NoError") != 3 || strings.Count(text, "<t:IsDraft>true<") != 1 {
			t.Errorf("find by %s: %s", name, text)
		}
	}
	e.says(t, "ErrorChangeKeyRequired", sendBody(regexp.MustCompile(` ChangeKey="[^"]*"`).ReplaceAllString(id, "")))
	e.says(t, "ErrorStaleObject", sendBody(regexp.MustCompile(`ChangeKey="`).ReplaceAllString(id, `ChangeKey="AA`)))
	e.says(t, "NoError", sendBody(id))
	lies(t, sb, support, "Drafts")
	lies(t, sb, support, "Sent Items", plain)
	lies(t, sb, sales, "INBOX", plain)
	lies(t, sb, shared, "INBOX", plain)
	if _, text := e.do(t, fmt.Sprintf(findBody, mark, "one")); strings.Count(text, "<t:IsDraft>false<") != 1 || strings.Contains(text, id) {
		t.Errorf("find what was sent: %s", text)
	}
	e.says(t, "ErrorItemNotFound", sendBody(id))
	lies(t, sb, sales, "INBOX", plain)
}

// TestEWSBcc: nobody sees Bcc, and recipients beside the MIME content take the place of those in it.
func TestEWSBcc(t *testing.T) {
	sb, e := sender(t)
	raw := "Bcc: <" + shared + ">,\r\n <far@away.example>\r\n" + plain
	e.says(t, "NoError", sendBody(e.draft(t, raw, "")))
	lies(t, sb, sales, "INBOX", plain)
	lies(t, sb, shared, "INBOX", plain)
	lies(t, sb, support, "Sent Items", raw)
	if out := sb.Outbound(); len(out) != 1 || len(out[0].To) != 1 || out[0].To[0] != "far@away.example" || out[0].From != support {
		t.Errorf("outbound %+v", out)
	}
	e.says(t, "NoError", sendBody(e.draft(t, raw, bccOf("only@away.example"))))
	lies(t, sb, shared, "INBOX", plain)
	if out := sb.Outbound(); len(out) != 2 || out[1].To[0] != "only@away.example" {
		t.Errorf("outbound %+v", out)
	}
}

// TestEWSSendAtOnce: without a draft there is no id, and a copy only if it is wanted.
func TestEWSSendAtOnce(t *testing.T) {
	sb, e := sender(t)
	if _, text := e.do(t, createBody("SendOnly", plain, "")); !strings.Contains(text, "NoError") || itemID.MatchString(text) {
		t.Errorf("send only: %s", text)
	}
	lies(t, sb, support, "Sent Items")
	e.says(t, "NoError", createBody("SendAndSaveCopy", plain, ""))
	lies(t, sb, support, "Sent Items", plain)
	lies(t, sb, sales, "INBOX", plain, plain)
	if n := sb.Stats().EWS.Accepted[support]; n != 2 {
		t.Errorf("%d accepted", n)
	}
}

// TestEWSRefusals: what Exchange does not send, and what it sends back.
func TestEWSRefusals(t *testing.T) {
	c := contoso()
	c.Limits.MessageSize = 1000
	sb := start(t, c)
	e := newEWS(t, sb, idp.Claims{Client: service, Roles: []string{"full_access_as_app"}})
	for name, tc := range map[string]struct{ body, code string }{
		"no disposition":   {createBody("", plain, ""), "ErrorMessageDispositionRequired"},
		"no base64":        {strings.Replace(createBody("SaveOnly", plain, ""), "UTF-8\">", "UTF-8\">%%%", 1), "ErrorMimeContentInvalidBase64String"},
		"no message":       {createBody("SaveOnly", "no header at all", ""), "ErrorMimeContentInvalid"},
		"too large":        {createBody("SaveOnly", plain+strings.Repeat("x", 1000), ""), "ErrorMessageSizeExceeded"},
		"nobody":           {createBody("SendOnly", "Subject: x\r\n\r\n", ""), "ErrorMissingRecipients"},
		"no address":       {createBody("SendOnly", "To: nobody\r\n\r\n", ""), "ErrorInvalidRecipients"},
		"no address apart": {createBody("SendOnly", plain, bccOf("nobody")), "ErrorInvalidRecipients"},
		"another's name":   {createBody("SendOnly", "From: <"+sales+">\r\nTo: <"+sales+">\r\n\r\n", ""), "ErrorSendAsDenied"},
		"another property": {createBody("SaveOnly", plain, `<t:ExtendedProperty><t:ExtendedFieldURI PropertyTag="0x1" PropertyType="String"/><t:Value>x</t:Value></t:ExtendedProperty>`), "ErrorInvalidExtendedProperty"},
		"no such draft":    {sendBody(`<t:ItemId Id="aXRlbToAAAAAAAAAAA==" ChangeKey="x"/>`), "ErrorItemNotFound"},
		"no id":            {sendBody(`<t:ItemId Id="x" ChangeKey="x"/>`), "ErrorInvalidIdMalformed"},
		"save or not":      {strings.Replace(sendBody(`<t:ItemId Id="x" ChangeKey="x"/>`), "true", "false", 1), "ErrorInvalidSendItemSaveSettings"},
		"another search":   {fmt.Sprintf(findBody, `<t:FieldURI FieldURI="item:Subject"/>`, "x"), "ErrorUnsupportedPathForQuery"},
	} {
		t.Run(name, func(t *testing.T) { e.says(t, tc.code, tc.body) })
	}
	if status, _ := e.do(t, createBody("SaveOnly", strings.Repeat("x", 1<<20), "")); status != 413 {
		t.Errorf("a request that is far too large: %d", status)
	}
	lies(t, sb, sales, "INBOX")
	fill(t, sb, 1)
	_, text := e.do(t, fmt.Sprintf(syncInbox, "", 10))
	e.says(t, "ErrorInvalidItemForOperationSendItem", sendBody(itemID.FindString(text)))
}

// TestEWSUnknownRecipient: Exchange takes the message and reports.
func TestEWSUnknownRecipient(t *testing.T) {
	sb, e := sender(t)
	e.says(t, "NoError", createBody("SendOnly", plain, bccOf("nobody@contoso.example")))
	lies(t, sb, sales, "INBOX", plain)
	f, err := sb.Store().Folder(support, "INBOX")
	if err != nil || len(f.Messages) != 1 {
		t.Fatalf("%d reports, %v", len(f.Messages), err)
	}
	if raw, err := f.Messages[0].Raw(); err != nil || !strings.Contains(string(raw), "rfc822;nobody@contoso.example") {
		t.Errorf("%s, %v", raw, err)
	}
}

// TestEWSSharedMailbox: a user sends from a mailbox that was opened to him, with the right to send as it.
func TestEWSSharedMailbox(t *testing.T) {
	in := func(box, body string) string {
		return strings.NewReplacer(`Id="drafts"/>`, `Id="drafts"><t:Mailbox><t:EmailAddress>`+box+`</t:EmailAddress></t:Mailbox></t:DistinguishedFolderId>`,
			`Id="sentitems"/>`, `Id="sentitems"><t:Mailbox><t:EmailAddress>`+box+`</t:EmailAddress></t:Mailbox></t:DistinguishedFolderId>`,
			`"SaveOnly">`, `"SaveOnly"><m:SavedItemFolderId><t:DistinguishedFolderId Id="drafts"><t:Mailbox><t:EmailAddress>`+box+`</t:EmailAddress></t:Mailbox></t:DistinguishedFolderId></m:SavedItemFolderId>`).Replace(body)
	}
	raw := strings.Replace(plain, support, shared, 1)
	sb := start(t, contoso())
	e := newEWS(t, sb, idp.Claims{Client: public, User: support, Scopes: []string{"EWS.AccessAsUser.All"}})
	_, text := e.do(t, in(shared, createBody("SaveOnly", raw, "<t:ExtendedProperty>"+mark+"<t:Value>one</t:Value></t:ExtendedProperty>")))
	lies(t, sb, shared, "Drafts", raw)
	e.says(t, "NoError", in(shared, sendBody(itemID.FindString(text))))
	lies(t, sb, shared, "Sent Items", raw)
	lies(t, sb, support, "Sent Items")
	lies(t, sb, sales, "INBOX", raw)
	if _, text := e.do(t, in(shared, fmt.Sprintf(findBody, mark, "one"))); strings.Count(text, "<t:IsDraft>false<") != 1 {
		t.Errorf("find what was sent: %s", text)
	}
	e.says(t, "ErrorSavedItemFolderNotFound", in(sales, createBody("SaveOnly", plain, "")))
	other := newEWS(t, sb, idp.Claims{Client: public, User: sales, Scopes: []string{"EWS.AccessAsUser.All"}})
	other.says(t, "ErrorSendAsDenied", createBody("SendOnly", raw, ""))
	theirs := e.draft(t, plain, "")
	other.says(t, "ErrorItemNotFound", sendBody(theirs))
}

// TestEWSSendFaults: each step can fail, and what was done before an answer got lost is done.
func TestEWSSendFaults(t *testing.T) {
	sb, e := sender(t)
	id := e.draft(t, plain, "")
	sb.Faults().Add(fault.Rule{Target: fault.EWS, Step: "send", Action: fault.Reply, Text: "ErrorMessageSubmissionBlocked", Count: 1})
	e.says(t, "ErrorMessageSubmissionBlocked", sendBody(id))
	lies(t, sb, sales, "INBOX")
	rule := sb.Faults().Add(fault.Rule{Target: fault.EWS, Step: "send", Action: fault.Cut, Bytes: 10, Count: 1})
	if err := e.try(t, sendBody(id)); err == nil || sb.Faults().Fired(rule) != 1 {
		t.Errorf("an answer that was cut: %v", err)
	}
	lies(t, sb, sales, "INBOX", plain)
	rule = sb.Faults().Add(fault.Rule{Target: fault.EWS, Step: "create", Action: fault.LoseAnswer, Count: 1})
	if err := e.try(t, createBody("SaveOnly", plain, "")); err == nil || sb.Faults().Fired(rule) != 1 {
		t.Errorf("an answer that was lost: %v", err)
	}
	lies(t, sb, support, "Drafts", plain)
}
