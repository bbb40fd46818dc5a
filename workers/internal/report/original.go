package report

import (
	"bytes"
	"fmt"
	"io"
	"net/textproto"
	"regexp"
	"strings"
	"unicode/utf8"

	"bufio"

	"mailporter/workers/internal/mail"
)

// Bounds on what is returned of a message, in bytes.
const (
	maxWhole  = 1 << 20 // larger ones come back as their header; Graph takes reports of 3 MB at most
	maxHeader = 64 << 10
	maxLine   = 998 // RFC 5322 section 2.1.1
)

// original is the message that a report is about, as it is returned: whole, its header, or, being lost, not at all.
type original struct {
	part
	header []byte
}

func readOriginal(b mail.Body, whole bool) (original, error) {
	if b == nil {
		return original{}, nil
	}
	whole = whole && b.Size() <= maxWhole
	most := int64(maxHeader)
	if whole {
		most = maxWhole
	}
	r, err := b.Open()
	if err != nil {
		return original{}, fmt.Errorf("open message: %w", err)
	}
	defer r.Close() //nolint:errcheck // it was only read
	raw, err := io.ReadAll(io.LimitReader(r, most))
	if err != nil {
		return original{}, fmt.Errorf("read message: %w", err)
	}
	message := crlf(raw)
	header := headerOf(message)
	if whole && carriable(message) {
		return original{wholePart(header, message), header}, nil
	}
	return original{headerPart(header), header}, nil
}

// headerOf is the message up to its first blank line, or to where it was cut: whole lines, and no more than its bound.
func headerOf(message []byte) []byte {
	if bytes.HasPrefix(message, []byte("\r\n")) {
		return nil
	}
	end := bytes.Index(message, []byte("\r\n\r\n"))
	if end >= 0 && end+2 <= maxHeader {
		return message[:end+2]
	}
	cut := message[:min(len(message), maxHeader)]
	return cut[:bytes.LastIndexByte(cut, '\n')+1]
}

// carriable says whether SMTP can carry the bytes without altering them: RFC 2045 section 2.8.
func carriable(b []byte) bool { return bytes.IndexByte(b, 0) < 0 && longest(b) <= maxLine }

// longest is the length of the longest line, without its end.
func longest(b []byte) (most int) {
	for l := range bytes.SplitSeq(b, []byte("\r\n")) {
		most = max(most, len(l))
	}
	return most
}

// wholePart: RFC 2046 section 5.2.1 lets message/rfc822 be no more than 8-bit; RFC 6532 section 3.7 makes another type of messages
// with UTF-8 in their header, which may be encoded.
func wholePart(header, message []byte) part {
	switch {
	case ascii(string(message)):
		return part{"message/rfc822", sevenBit, message}
	case !ascii(string(header)) && utf8.Valid(header):
		return part{"message/global", quoted, message}
	}
	return part{"message/rfc822", eightBit, message}
}

// headerPart: RFC 6522 section 4, RFC 6533 section 6.
func headerPart(header []byte) part {
	switch text := string(header); {
	case ascii(text) && carriable(header):
		return part{"text/rfc822-headers", sevenBit, header}
	case !ascii(text) && utf8.Valid(header):
		return part{"message/global-headers", quoted, header}
	}
	return part{"text/rfc822-headers", quoted, header}
}

var lineEnd = regexp.MustCompile(`\r?\n|\r`)

// crlf gives every line its proper end: a message may have come to its own end because it had others.
func crlf(raw []byte) []byte { return lineEnd.ReplaceAll(raw, []byte("\r\n")) }

// anID is a Message-ID: RFC 5322 section 3.6.4, without the comments and blanks of its obsolete forms.
var anID = regexp.MustCompile(`^<[!-;=?-~]{1,900}>$`)

// messageID is the message's own; empty if it has none that can be repeated.
func (o original) messageID() string {
	fields, _ := textproto.NewReader(bufio.NewReader(bytes.NewReader(o.header))).ReadMIMEHeader() // what can be read of it
	if id := strings.TrimSpace(fields.Get("Message-Id")); anID.MatchString(id) {
		return id
	}
	return ""
}
