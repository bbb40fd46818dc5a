package imapd

import (
	"bufio"
	"bytes"
	"slices"
	"strings"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapserver"
	"github.com/emersion/go-message/textproto"

	"mailporter/sandbox/mailstore"
)

// Fetch implements imapserver.Session. It looks at the clock before each message: a token that ends meanwhile ends it.
func (s *session) Fetch(w *imapserver.FetchWriter, set imap.NumSet, options *imap.FetchOptions) error {
	return s.command("fetch", func() error {
		picked := s.view.pick(set)
		if seenBy(options) && !s.view.readOnly {
			if err := s.setFlags(picked, mailstore.FlagsAdd, []string{`\Seen`}); err != nil {
				return err
			}
			options.Flags = true
		}
		for _, n := range picked {
			if s.isExpired() {
				return s.invalid()
			}
			if err := s.write(w, n, options); err != nil {
				return err
			}
		}
		return nil
	})
}

// write writes one FETCH response.
func (s *session) write(w *imapserver.FetchWriter, n numbered, options *imap.FetchOptions) error {
	s.conn.set(func(o *outgoing) { o.verbatim = true })
	defer s.conn.set(func(o *outgoing) { o.verbatim = false })
	m := n.message
	out := w.CreateMessage(n.seq)
	if options.UID {
		out.WriteUID(imap.UID(m.UID))
	}
	if options.Flags {
		out.WriteFlags(flagsOf(m))
	}
	if options.InternalDate {
		out.WriteInternalDate(m.Received)
	}
	if options.RFC822Size {
		out.WriteRFC822Size(m.Size)
	}
	err := s.writeContent(out, m, options)
	if closeErr := out.Close(); err == nil { // Close releases go-imap's lock, whatever happened
		err = closeErr
	}
	return err
}

func (s *session) writeContent(out *imapserver.FetchResponseWriter, m *mailstore.Message, options *imap.FetchOptions) error {
	if !options.Envelope && options.BodyStructure == nil && len(options.BodySection) == 0 {
		return nil
	}
	raw, err := m.Raw()
	if err != nil {
		return err
	}
	if options.Envelope {
		out.WriteEnvelope(envelope(raw))
	}
	if options.BodyStructure != nil {
		out.WriteBodyStructure(imapserver.ExtractBodyStructure(bytes.NewReader(raw)))
	}
	for _, section := range options.BodySection {
		if err := s.writeSection(out, raw, section); err != nil {
			return err
		}
	}
	return nil
}

func (s *session) writeSection(out *imapserver.FetchResponseWriter, raw []byte, section *imap.FetchItemBodySection) error {
	b := sectionOf(raw, section)
	w := out.WriteBodySection(section, int64(len(b)))
	if _, err := w.Write(b); err != nil {
		return err
	}
	if whole(section) {
		s.server.count(func(st *Stats) { st.Fetched[s.mailbox]++ })
	}
	return w.Close()
}

func whole(section *imap.FetchItemBodySection) bool {
	return len(section.Part) == 0 && section.Specifier == imap.PartSpecifierNone && section.Partial == nil
}

// sectionOf cuts a section out of a message. Whole messages, headers and texts are taken as they stand: go-imap parses and
// writes them anew, which loses mail that is not well formed.
func sectionOf(raw []byte, section *imap.FetchItemBodySection) []byte {
	if len(section.Part) > 0 {
		return imapserver.ExtractBodySection(bytes.NewReader(raw), section)
	}
	head, text := split(raw)
	switch section.Specifier {
	case imap.PartSpecifierHeader, imap.PartSpecifierMIME:
		raw = subset(head, section)
	case imap.PartSpecifierText:
		raw = text
	}
	p := section.Partial
	if p == nil {
		return raw
	}
	start := min(p.Offset, int64(len(raw)))
	return raw[start:min(start+p.Size, int64(len(raw)))]
}

// subset is the header, or what HEADER.FIELDS or HEADER.FIELDS.NOT leave of it (RFC 3501 section 6.4.5).
func subset(head []byte, section *imap.FetchItemBodySection) []byte {
	names, wanted := section.HeaderFields, true
	if len(section.HeaderFieldsNot) > 0 {
		names, wanted = section.HeaderFieldsNot, false
	}
	if len(names) == 0 {
		return head
	}
	var out []byte
	taken := false
	for line := range bytes.Lines(head) {
		if line[0] != ' ' && line[0] != '\t' { // else it goes on with the field before it
			taken = named(line, names) == wanted && len(bytes.TrimSpace(line)) > 0
		}
		if taken {
			out = append(out, line...)
		}
	}
	return append(out, "\r\n"...) // the empty line belongs to every subset
}

// named says whether a field has one of these names.
func named(line []byte, names []string) bool {
	name, _, _ := bytes.Cut(line, []byte(":"))
	return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, strings.TrimSpace(string(name))) })
}

// split parts a message behind the empty line.
func split(raw []byte) (head, text []byte) {
	for _, gap := range []string{"\r\n\r\n", "\n\n"} {
		if i := bytes.Index(raw, []byte(gap)); i >= 0 {
			return raw[:i+len(gap)], raw[i+len(gap):]
		}
	}
	return raw, nil
}

func envelope(raw []byte) *imap.Envelope {
	header, err := textproto.ReadHeader(bufio.NewReader(bytes.NewReader(raw)))
	if err != nil {
		return &imap.Envelope{}
	}
	return imapserver.ExtractEnvelope(header)
}
