package graphd

import (
	"bytes"
	"io"
	"mime"
	"net/mail"
	"regexp"
	"strings"
)

// cutHeader takes a message apart: its header with the last line's end, and the rest with the empty line before the body.
func cutHeader(raw []byte) (header, rest []byte) {
	for at := 0; at < len(raw); {
		end := bytes.IndexByte(raw[at:], '\n')
		if end < 0 {
			break
		}
		if len(bytes.TrimRight(raw[at:at+end], "\r")) == 0 {
			return raw[:at], raw[at:]
		}
		at += end + 1
	}
	return raw, nil
}

// without is the message without the fields of that name; everything else stays as it is, byte for byte.
func without(raw []byte, field string) []byte {
	header, rest := cutHeader(raw)
	out := make([]byte, 0, len(raw))
	dropping := false
	for line := range bytes.Lines(header) {
		if line[0] != ' ' && line[0] != '\t' { // else the line goes on with the one before: RFC 5322 section 2.2.3
			name, _, _ := bytes.Cut(line, []byte(":"))
			dropping = strings.EqualFold(string(bytes.TrimSpace(name)), field)
		}
		if !dropping {
			out = append(out, line...)
		}
	}
	return append(out, rest...)
}

// with is the message with this field in place of all of its name; without the field if there are no addresses.
func with(raw []byte, field string, list []recipient) []byte {
	raw = without(raw, field)
	if len(list) == 0 {
		return raw
	}
	return append([]byte(field+": "+addresses(list)+"\r\n"), raw...)
}

// addresses writes a list as a header has it, one to a line.
func addresses(list []recipient) string {
	var all []string
	for _, r := range list {
		all = append(all, (&mail.Address{Name: r.EmailAddress.Name, Address: r.EmailAddress.Address}).String())
	}
	return strings.Join(all, ",\r\n ")
}

// recipient is one as Graph writes it.
type recipient struct {
	EmailAddress struct{ Name, Address string }
}

func (r recipient) valid() bool { return !strings.ContainsAny(r.EmailAddress.Address, "<>\r\n,;") }

// parser takes names in any charset: only the addresses count.
var parser = mail.AddressParser{WordDecoder: &mime.WordDecoder{CharsetReader: func(_ string, r io.Reader) (io.Reader, error) { return r, nil }}}

// noMembers is a group of nobody: RFC 5322 section 3.4.
var noMembers = regexp.MustCompile(`^[^:<>@]*:\s*;\s*$`)

// named are the addresses in the fields of a message; ok is false if one of the fields cannot be read.
func named(raw []byte, fields ...string) (all []string, ok bool) {
	m, err := mail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return nil, false
	}
	for _, field := range fields {
		for _, value := range m.Header[field] {
			if strings.TrimSpace(value) == "" || noMembers.MatchString(value) {
				continue
			}
			list, err := parser.ParseList(strings.ToValidUTF8(value, "?"))
			if err != nil {
				return nil, false
			}
			for _, a := range list {
				all = append(all, a.Address)
			}
		}
	}
	return all, true
}
