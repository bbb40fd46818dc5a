package graph

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	netmail "net/mail"
	"net/textproto"
	"slices"
	"strings"

	"golang.org/x/text/encoding/htmlindex" // mail comes in every charset, JSON in one

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
)

// A message that is too large for one request of MIME is written anew as JSON: its text, its fields, and its attachments one
// by one. That is another message in form: what would be lost by it is refused, before anything is in the mailbox.

// message is a draft as Graph's JSON has it.
type message struct {
	Subject    string         `json:"subject"`
	Body       text           `json:"body"`
	From       *recipient     `json:"from,omitempty"`
	To         []recipient    `json:"toRecipients"`
	Cc         []recipient    `json:"ccRecipients"`
	Bcc        []recipient    `json:"bccRecipients"`
	ReplyTo    []recipient    `json:"replyTo,omitempty"`
	Importance string         `json:"importance,omitempty"`
	MessageID  string         `json:"internetMessageId,omitempty"`
	Headers    []headerField  `json:"internetMessageHeaders,omitempty"`
	Properties []mapiProperty `json:"singleValueExtendedProperties,omitempty"`
}

type text struct {
	ContentType string `json:"contentType"`
	Content     string `json:"content"`
}

type headerField struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// mapiProperty is one that has no name in JSON.
type mapiProperty struct {
	ID    string `json:"id"`
	Value string `json:"value"`
}

// file is an attachment. Its bytes are read when their turn comes.
type file struct {
	name        string
	contentType string
	contentID   string
	inline      bool
	size        int64
}

// Bounds of what is rebuilt.
const (
	maxText   = 2 << 20 // bytes of a message's own text: it travels in one request with the fields
	maxDepth  = 10
	maxFiles  = 500
	maxCustom = 5 // fields of one's own that Graph takes
)

// loss refuses what JSON cannot carry.
func loss(format string, args ...any) error {
	return &fault.Error{
		Kind: fault.Permanent, Reason: tooLarge,
		Err:    fmt.Errorf("the message is too large for Graph to take as MIME, and cannot be taken apart: %w", fmt.Errorf(format, args...)),
		Remedy: "send this message by SMTP or EWS, or make it smaller",
	}
}

// words decodes encoded words of any charset.
var words = mime.WordDecoder{CharsetReader: inCharset}

// inCharset reads text of a charset as UTF-8.
func inCharset(charset string, r io.Reader) (io.Reader, error) {
	e, err := htmlindex.Get(charset)
	if err != nil {
		return nil, err
	}
	return e.NewDecoder().Reader(r), nil
}

// carried are the fields that end up elsewhere in JSON, or that Exchange writes itself.
var carried = []string{
	"From", "To", "Cc", "Bcc", "Reply-To", "Subject", "Message-Id", "Importance", "In-Reply-To", "References",
	"Date", "Mime-Version", "Received", "Return-Path", "User-Agent", "Thread-Index", "Thread-Topic", "Content-Language",
	"Content-Type", "Content-Transfer-Encoding", "Content-Disposition", "Content-Id", "Dkim-Signature",
}

// fields puts the header into JSON. Who gets it was decided before.
func (m *message) fields(h textproto.MIMEHeader) (err error) {
	if m.Subject, err = words.DecodeHeader(h.Get("Subject")); err != nil {
		return loss("its subject is in a charset that is not known")
	}
	m.MessageID, m.Importance = h.Get("Message-Id"), strings.ToLower(h.Get("Importance"))
	for _, to := range []struct {
		field string
		list  *[]recipient
	}{{"To", &m.To}, {"Cc", &m.Cc}, {"Reply-To", &m.ReplyTo}} {
		list, err := addresses(h, to.field)
		if err != nil {
			return err
		}
		*to.list = withNames(list)
	}
	// MS-OXPROPS: PidTagInReplyToId and PidTagInternetReferences keep the thread together.
	for _, p := range []struct{ field, id string }{{"In-Reply-To", "String 0x1042"}, {"References", "String 0x1039"}} {
		if v := h.Get(p.field); v != "" {
			m.Properties = append(m.Properties, mapiProperty{p.id, v})
		}
	}
	return m.custom(h)
}

func withNames(list []*netmail.Address) []recipient {
	out := make([]recipient, 0, len(list))
	for _, a := range list {
		out = append(out, recipient{emailAddress{a.Name, a.Address}})
	}
	return out
}

// custom takes the fields that begin with X- along, and refuses others that nobody would carry.
func (m *message) custom(h textproto.MIMEHeader) error {
	for name, values := range h {
		switch {
		case strings.HasPrefix(name, "X-"):
			for _, v := range values {
				m.Headers = append(m.Headers, headerField{name, v})
			}
		case !slices.Contains(carried, name):
			return loss("its field %s would be lost", name)
		}
	}
	if len(m.Headers) > maxCustom {
		return loss("it has %d fields that begin with X-, and Graph takes %d", len(m.Headers), maxCustom)
	}
	slices.SortFunc(m.Headers, func(a, b headerField) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

// walk goes through the parts of a message.
type walk struct {
	plain, html *string
	files       int
	onFile      func(f file, r io.Reader) error
}

// over walks through a message from the start. What is no *fault.Error is about the form of the message.
func (w *walk) over(b mail.Body) (err error) {
	r, err := b.Open()
	if err != nil {
		return fault.New(fault.Temporary, fmt.Errorf("open message: %w", err))
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	seen := &remembering{r: r}
	m, err := netmail.ReadMessage(seen)
	if err == nil {
		err = w.entity(textproto.MIMEHeader(m.Header), m.Body, "1", 0)
	}
	if seen.err != nil {
		return fault.New(fault.Temporary, fmt.Errorf("read message: %w", seen.err))
	}
	return err
}

// entity is a message or one of its parts; at is its number, for people.
func (w *walk) entity(h textproto.MIMEHeader, body io.Reader, at string, depth int) error {
	kind, params, err := mime.ParseMediaType(h.Get("Content-Type"))
	if h.Get("Content-Type") == "" {
		kind, err = "text/plain", nil // RFC 2045 section 5.2
	}
	switch {
	case err != nil || depth > maxDepth:
		return loss("its part %s has no type that can be read, or lies too deep", at)
	case kind == "multipart/mixed" || kind == "multipart/alternative" || kind == "multipart/related":
		return w.parts(multipart.NewReader(body, params["boundary"]), at, depth)
	case opaque(kind, depth):
		return loss("its part %s is %s", at, kind)
	}
	if body, err = decoded(h.Get("Content-Transfer-Encoding"), body); err != nil {
		return loss("its part %s: %w", at, err)
	}
	f, attached := asFile(h, kind, params)
	if attached {
		return w.file(f, body)
	}
	return w.text(kind, params["charset"], body, at)
}

// opaque are the types that mean something only as they are: signed, encrypted, invitations, and parts of other kinds.
func opaque(kind string, depth int) bool {
	return strings.HasPrefix(kind, "multipart/") || kind == "text/calendar" || depth == 0 && strings.HasSuffix(kind, "pkcs7-mime")
}

func (w *walk) parts(r *multipart.Reader, at string, depth int) error {
	for i := 1; ; i++ {
		p, err := r.NextRawPart()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := w.entity(p.Header, p, fmt.Sprintf("%s.%d", at, i), depth+1); err != nil {
			return err
		}
	}
}

// decoded takes the transfer encoding off: RFC 2045 section 6.
func decoded(encoding string, r io.Reader) (io.Reader, error) {
	switch strings.ToLower(strings.TrimSpace(encoding)) {
	case "", "7bit", "8bit", "binary":
		return r, nil
	case "base64":
		return base64.NewDecoder(base64.StdEncoding, r), nil
	case "quoted-printable":
		return quotedprintable.NewReader(r), nil
	}
	return nil, errors.New("an unknown transfer encoding")
}

// asFile says whether a part is an attachment: all are that are not the text itself.
func asFile(h textproto.MIMEHeader, kind string, params map[string]string) (f file, attached bool) {
	disposition, more, err := mime.ParseMediaType(h.Get("Content-Disposition"))
	if err != nil {
		disposition, more = "", nil
	}
	f = file{contentType: kind, contentID: strings.Trim(h.Get("Content-Id"), "<> "), inline: disposition == "inline"}
	for _, name := range []string{more["filename"], params["name"]} {
		if d, err := words.DecodeHeader(name); err == nil && f.name == "" {
			f.name = d
		}
	}
	own := kind == "text/plain" || kind == "text/html"
	attached = !own || disposition == "attachment" || f.name != ""
	if f.name == "" {
		f.name = "attachment" // Graph wants one
	}
	return f, attached
}

func (w *walk) file(f file, r io.Reader) error {
	if w.files++; w.files > maxFiles {
		return loss("it has more than %d attachments", maxFiles)
	}
	return w.onFile(f, r)
}

// text takes the message's own text, once as HTML and once as it is.
func (w *walk) text(kind, charset string, r io.Reader, at string) error {
	into := &w.plain
	if kind == "text/html" {
		into = &w.html
	}
	if *into != nil {
		return loss("its part %s is a second text", at)
	}
	if charset != "" {
		var err error
		if r, err = inCharset(charset, r); err != nil {
			return loss("its part %s is in a charset that is not known", at)
		}
	}
	b, err := io.ReadAll(io.LimitReader(r, maxText+1))
	if err != nil {
		return err
	}
	if len(b) > maxText {
		return loss("its part %s is a text of more than %d bytes", at, maxText)
	}
	s := strings.ToValidUTF8(string(b), "\uFFFD")
	*into = &s
	return nil
}

// rebuild takes a message apart: the draft that is to be made, and how large each attachment is.
func rebuild(h textproto.MIMEHeader, b mail.Body) (m message, sizes []int64, err error) {
	if err := m.fields(h); err != nil {
		return message{}, nil, err
	}
	w := walk{onFile: func(_ file, r io.Reader) error {
		n, err := io.Copy(io.Discard, r)
		sizes = append(sizes, n)
		if err == nil && n > maxUpload {
			return loss("an attachment has %d bytes, and Graph takes %d", n, int64(maxUpload))
		}
		return err
	}}
	var known *fault.Error
	switch err := w.over(b); {
	case errors.As(err, &known):
		return message{}, nil, err
	case err != nil:
		return message{}, nil, loss("it is malformed: %w", err)
	}
	m.Body = w.body()
	return m, sizes, nil
}

// body is the richer of the texts: Exchange writes the plain one itself.
func (w *walk) body() text {
	switch {
	case w.html != nil:
		return text{"html", *w.html}
	case w.plain != nil:
		return text{"text", *w.plain}
	}
	return text{ContentType: "text"}
}
