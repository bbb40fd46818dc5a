package graphd

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"mime"
	"net/http"
	"strings"

	"mailporter/sandbox/fault"
)

// draft is a message as Graph's JSON has it.
type draft struct {
	Subject           string       `json:"subject"`
	Body              *content     `json:"body"`
	From              *recipient   `json:"from"`
	Sender            *recipient   `json:"sender"`
	ReplyTo           []recipient  `json:"replyTo"`
	To                []recipient  `json:"toRecipients"`
	Cc                []recipient  `json:"ccRecipients"`
	Bcc               []recipient  `json:"bccRecipients"`
	Importance        string       `json:"importance"`
	InternetMessageID string       `json:"internetMessageId"`
	Headers           []namedValue `json:"internetMessageHeaders"`
	Attachments       []attachment `json:"attachments"`
	Properties        []property   `json:"singleValueExtendedProperties"`
}

type content struct{ ContentType, Content string }

// property is one that JSON has no name for.
type property struct{ ID, Value string }

// threading are the properties that stand for fields of the header: MS-OXPROPS.
var threading = map[string]string{"String 0x1042": "In-Reply-To", "String 0x1039": "References"}

type namedValue struct{ Name, Value string }

// attachment is one that is a file.
type attachment struct {
	Type         string `json:"@odata.type"`
	Name         string `json:"name"`
	ContentType  string `json:"contentType"`
	ContentID    string `json:"contentId"`
	ContentBytes []byte `json:"contentBytes"`
	IsInline     bool   `json:"isInline"`
}

// The limits of Graph for headers of one's own and for attachments that come in one request.
const (
	maxHeaders    = 5
	maxAttachment = 3_000_000
)

func readDraft(c *call) (*draft, *fault.Answer) {
	d := &draft{}
	if refused := decode(c, d); refused != nil {
		return nil, refused
	}
	if len(d.Headers) > maxHeaders {
		return nil, answer(fail(http.StatusBadRequest, "InvalidInternetMessageHeaderCollection", "Maximum number of headers in one message should be less than or equal to 5."))
	}
	for _, h := range d.Headers {
		if !strings.HasPrefix(strings.ToLower(h.Name), "x-") {
			return nil, answer(fail(http.StatusBadRequest, "InvalidInternetMessageHeader", "The internet message header name '"+h.Name+"' should start with 'x-' or 'X-'."))
		}
	}
	for _, r := range append(append(append(d.To, d.Cc...), d.Bcc...), d.ReplyTo...) {
		if !r.valid() {
			return nil, &noList
		}
	}
	return d, nil
}

func (d *draft) readdress(r readdress) {
	for to, from := range map[*[]recipient]*[]recipient{&d.To: r.ToRecipients, &d.Cc: r.CcRecipients, &d.Bcc: r.BccRecipients} {
		if from != nil {
			*to = *from
		}
	}
	if r.From != nil {
		d.From = r.From
	}
}

// boundary cannot occur in base64.
const boundary = "=_graph_sandbox_="

// mime writes the message that Exchange would make of it.
func (d *draft) mime(mailbox string) []byte {
	var b bytes.Buffer
	from := recipient{}
	from.EmailAddress.Address = mailbox
	if d.From != nil {
		from = *d.From
	}
	for _, f := range []struct {
		name string
		list []recipient
	}{{"From", []recipient{from}}, {"To", d.To}, {"Cc", d.Cc}, {"Bcc", d.Bcc}, {"Reply-To", d.ReplyTo}} {
		if len(f.list) > 0 {
			fmt.Fprintf(&b, "%s: %s\r\n", f.name, addresses(f.list))
		}
	}
	fmt.Fprintf(&b, "Subject: %s\r\n", mime.QEncoding.Encode("utf-8", d.Subject))
	if d.InternetMessageID != "" {
		fmt.Fprintf(&b, "Message-ID: %s\r\n", d.InternetMessageID)
	}
	if d.Importance != "" {
		fmt.Fprintf(&b, "Importance: %s\r\n", d.Importance)
	}
	for _, h := range d.Headers {
		fmt.Fprintf(&b, "%s: %s\r\n", h.Name, h.Value)
	}
	for _, p := range d.Properties {
		if name, ok := threading[p.ID]; ok {
			fmt.Fprintf(&b, "%s: %s\r\n", name, p.Value)
		}
	}
	fmt.Fprintf(&b, "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=%q\r\n\r\n", boundary)
	body := content{"text", ""}
	if d.Body != nil {
		body = *d.Body
	}
	kind := map[bool]string{true: "text/html", false: "text/plain"}[strings.EqualFold(body.ContentType, "html")]
	part(&b, kind+"; charset=utf-8", "", []byte(body.Content))
	for _, a := range d.Attachments {
		part(&b, a.contentType(), a.fields(), a.ContentBytes)
	}
	fmt.Fprintf(&b, "--%s--\r\n", boundary)
	return b.Bytes()
}

func (a attachment) contentType() string {
	if a.ContentType == "" {
		return "application/octet-stream"
	}
	return a.ContentType
}

func (a attachment) fields() string {
	disposition := "attachment"
	if a.IsInline {
		disposition = "inline"
	}
	out := "Content-Disposition: " + mime.FormatMediaType(disposition, map[string]string{"filename": a.Name}) + "\r\n"
	if a.ContentID != "" {
		out += "Content-ID: <" + strings.Trim(a.ContentID, "<>") + ">\r\n"
	}
	return out
}

func part(b *bytes.Buffer, contentType, fields string, body []byte) {
	fmt.Fprintf(b, "--%s\r\nContent-Type: %s\r\n%sContent-Transfer-Encoding: base64\r\n\r\n", boundary, contentType, fields)
	text := base64.StdEncoding.EncodeToString(body)
	for len(text) > 0 {
		n := min(len(text), 76)
		b.WriteString(text[:n] + "\r\n")
		text = text[n:]
	}
}
