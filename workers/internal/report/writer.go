package report

import (
	"bytes"
	"cmp"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net/textproto"
	"strings"
	"time"

	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
)

// Writer writes reports, each in the name of the mailbox that sends it.
type Writer struct {
	Hostname string // of the machine that reports
	To       string // the address that gets all reports; empty: each goes to the return path of its message
	Name     string // what reports call their sender, beside the mailbox's address
}

var _ outbound.Reporter = Writer{}

// Report implements outbound.Reporter. The error is body's. At most 1 MiB of it is held in memory.
func (w Writer) Report(n outbound.Notice, body mail.Body) (mail.Envelope, []byte, error) {
	o, err := readOriginal(body, wantsWhole(n))
	if err != nil {
		return mail.Envelope{}, nil, err
	}
	to := cmp.Or(w.To, n.Job.Envelope.From)
	e := mail.Envelope{
		From: n.Through, Recipients: []mail.Recipient{{Address: to}},
		EightBit: o.encoding == eightBit, UTF8: !ascii(to) || !ascii(n.Through),
	}
	message, err := w.compose(n, to, o)
	return e, message, err
}

// wantsWhole says whether the message is returned with its body: RFC 3461 section 4.3 grants that with reports of failure.
// Bytes that a server would not carry are not shown to it again.
func wantsWhole(n outbound.Notice) bool {
	for _, to := range n.Recipients {
		if strings.HasPrefix(to.Status, "5.6.") {
			return false
		}
	}
	return n.Action == outbound.Failed && n.Job.Envelope.Return == "FULL"
}

func (w Writer) compose(n outbound.Notice, to string, o original) ([]byte, error) {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	parts := []part{{"text/plain; charset=utf-8", quoted, []byte(w.words(n))}, w.status(n)}
	if o.kind != "" {
		parts = append(parts, o.part)
	}
	for _, p := range parts {
		if err := p.writeTo(form); err != nil {
			return nil, err
		}
	}
	if err := form.Close(); err != nil {
		return nil, err
	}
	var all bytes.Buffer
	for _, f := range w.header(n, to, o, form.Boundary()) {
		all.WriteString(f.name + ": " + f.value + "\r\n")
	}
	all.WriteString("\r\n")
	all.Write(body.Bytes())
	return all.Bytes(), nil
}

// field is one of a header.
type field struct{ name, value string }

var subjects = map[outbound.Action]string{outbound.Failed: "Failure", outbound.Delayed: "Delay", outbound.Relayed: "Relayed"}

func (w Writer) header(n outbound.Notice, to string, o original, boundary string) []field {
	all := []field{
		{"From", phrase(w.Name) + "<" + line(n.Through) + ">"},
		{"To", "<" + line(to) + ">"},
		{"Subject", "Delivery Status Notification (" + subjects[n.Action] + ")"},
		{"Date", date(n.Attempted)},
		{"Message-ID", "<" + n.ID() + "@" + line(w.Hostname) + ">"},
	}
	if id := o.messageID(); id != "" {
		all = append(all, field{"In-Reply-To", id}, field{"References", id})
	}
	all = append(all, field{"Auto-Submitted", "auto-replied"}, // RFC 3834 section 5
		field{"MIME-Version", "1.0"},
		field{"Content-Type", "multipart/report; report-type=delivery-status;\r\n boundary=" + boundary})
	if o.encoding == eightBit {
		all = append(all, field{"Content-Transfer-Encoding", eightBit})
	}
	return all
}

// Transfer encodings: RFC 2045 section 6.
const (
	sevenBit = "7bit"
	eightBit = "8bit"
	quoted   = "quoted-printable"
)

// part is one of the report's three.
type part struct {
	kind     string // media type
	encoding string
	content  []byte // not encoded; lines end with CRLF
}

func (p part) writeTo(form *multipart.Writer) error {
	out, err := form.CreatePart(textproto.MIMEHeader{"Content-Type": {p.kind}, "Content-Transfer-Encoding": {p.encoding}})
	if err != nil {
		return err
	}
	if p.encoding != quoted {
		_, err := out.Write(p.content)
		return err
	}
	q := quotedprintable.NewWriter(out)
	if _, err := q.Write(p.content); err != nil {
		return err
	}
	return q.Close()
}

// phrase is a name before an address: RFC 5322 section 3.4, RFC 2047 section 5.
func phrase(name string) string {
	name = line(name)
	switch {
	case name == "":
		return ""
	case !ascii(name):
		return mime.QEncoding.Encode("utf-8", name) + " "
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name) + `" `
}

// date is RFC 5322 section 3.3.
func date(t time.Time) string { return t.Format(time.RFC1123Z) }

// line makes one line of a value that came from elsewhere.
func line(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

func ascii(s string) bool { return strings.IndexFunc(s, func(r rune) bool { return r > 0x7e }) < 0 }
