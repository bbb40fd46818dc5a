package imap

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// answers reads what a server says, line by line and past the literals, which it does not look into. The library gives the
// connection up for anything that it cannot read, and meets it again with the next one; so what some servers say and nobody needs
// is left out, and what one message has wrong is put right.
type answers struct {
	in      *bufio.Reader
	said    []byte // to be read first
	literal int64  // bytes of a literal that are still to come
	end     []byte // of the line so far, as much as a literal's announcement may have
	within  bool   // the answer goes on: a literal parts its line, or it does not fit into the buffer
	drop    bool   // the answer is left out
	fetch   bool   // the answer is of FETCH
}

// maxAnnouncement is the length of {9223372036854775807+} and its CRLF.
const maxAnnouncement = 24

// Read implements io.Reader.
func (a *answers) Read(p []byte) (int, error) {
	for len(a.said) == 0 {
		if a.literal > 0 {
			n, err := a.in.Read(p[:min(int64(len(p)), a.literal)])
			a.literal -= int64(n)
			if !a.drop || err != nil {
				return n, err
			}
			continue
		}
		if err := a.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, a.said)
	a.said = a.said[n:]
	return n, nil
}

// next reads a line, or the part of it that fits into the buffer.
func (a *answers) next() error {
	line, err := a.in.ReadSlice('\n')
	if len(line) == 0 {
		return err
	}
	if !a.within {
		word := kind(line)
		a.fetch, a.drop, a.end = word == "FETCH", useless(word, line), a.end[:0]
	}
	whole := err == nil
	a.end = append(a.end, line[max(0, len(line)-maxAnnouncement):]...)
	a.end = a.end[max(0, len(a.end)-maxAnnouncement):]
	a.within = !whole
	if n, ok := announced(a.end); ok && whole {
		a.literal, a.within = n, true
		a.end = a.end[:0]
	}
	switch {
	case a.drop:
	case a.fetch:
		a.said = correctDate(line)
	default:
		a.said = withoutRev2(line)
	}
	return nil
}

var announcement = regexp.MustCompile(`\{(\d{1,19})\+?\}\r?\n$`)

// announced is the length of the literal that a line announces at its end, in bytes.
func announced(end []byte) (int64, bool) {
	m := announcement.FindSubmatch(end)
	if m == nil {
		return 0, false
	}
	n, err := strconv.ParseInt(string(m[1]), 10, 64)
	return n, err == nil
}

// useful are the untagged answers that the library reads. RFC 3501 section 2.2.2 wants a client to be prepared for any; of others it
// says that they are unsupported and hangs up.
var useful = []string{
	"OK", "NO", "BAD", "BYE", "PREAUTH", "CAPABILITY", "ENABLED", "FLAGS", "LIST", "STATUS", "SEARCH", "ESEARCH", "NAMESPACE", "ID",
	"EXISTS", "RECENT", "EXPUNGE", "FETCH",
}

var untagged = regexp.MustCompile(`^\* (?:\d+ )?([A-Za-z0-9.-]+)`)

// kind is the word that says what an untagged answer is, in capitals; empty for all other lines.
func kind(line []byte) string {
	m := untagged.FindSubmatch(line)
	if m == nil {
		return ""
	}
	return strings.ToUpper(string(m[1]))
}

// useless says whether an answer that begins with line is nothing that the library could read or anybody needs.
func useless(word string, line []byte) bool {
	return word != "" && !slices.Contains(useful, word) || word == "LIST" && !readable(line) || word == "FETCH" && flags.Match(line)
}

// flags is what a server says when somebody else marks a message, whenever it likes: FLAGS, which we never ask for, and nothing but
// UID and MODSEQ beside it. The library takes the first FETCH with the UID of a message that is being fetched for the answer, and
// drops the answer.
var flags = regexp.MustCompile(`(?i)^\* \d+ FETCH \((?:(?:UID \d+|MODSEQ \(\d+\)) ?)*FLAGS \([^()]*\)(?: (?:UID \d+|MODSEQ \(\d+\)))*\)\r?\n$`)

var listed = regexp.MustCompile(`(?i)^\* LIST \([^)]*\) (?:NIL|"(?:[^"\\]|\\.)*") (?:"((?:[^"\\]|\\.)*)"|([^ "\r\n{]+))[ \r\n]`)

// readable says whether the folder of a LIST answer has a name that can be read. One "R&D" among the folders, from a server that lets
// through what RFC 3501 section 5.1.3 forbids, would hide all others.
func readable(line []byte) bool {
	m := listed.FindSubmatch(line)
	return m == nil || decodable(string(m[1])+string(m[2]))
}

// decodable says whether a name is in modified UTF-7 (RFC 3501 section 5.1.3), or UTF-8.
func decodable(name string) bool {
	if !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return false
	}
	shifted := false // a sequence ended just before: another one may not follow
	for name != "" {
		var code string
		var ok bool
		if name[0] != '&' {
			name, shifted = name[1:], false
			continue
		}
		if code, name, ok = strings.Cut(name[1:], "-"); !ok || code != "" && (shifted || !utf16Encoded(code)) {
			return false
		}
		shifted = code != ""
	}
	return true
}

var modifiedBase64 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").WithPadding(base64.NoPadding)

// utf16Encoded says whether what stands between & and - is UTF-16 of what has to stand there.
func utf16Encoded(code string) bool {
	b, err := modifiedBase64.DecodeString(code)
	if err != nil || len(b)%2 != 0 {
		return false
	}
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = uint16(b[2*i])<<8 | uint16(b[2*i+1])
	}
	return !slices.ContainsFunc(utf16.Decode(units), func(r rune) bool { return r == utf8.RuneError || ' ' <= r && r <= '~' })
}

var internalDate = regexp.MustCompile(`(?i)\bINTERNALDATE ("[^"\r\n]*")`)

// unknownDate stands in for a date that is none. It is always the same: the message's key follows from it.
const unknownDate = `"01-Jan-1970 00:00:00 +0000"`

// correctDate puts right what would make every message of a page unreadable: the date of one of them.
func correctDate(line []byte) []byte {
	at := internalDate.FindSubmatchIndex(line)
	if at == nil || isDate(string(line[at[2]:at[3]])) {
		return line
	}
	return slices.Concat(line[:at[2]], []byte(unknownDate), line[at[3]:])
}

// isDate says whether a quoted date is one that the library reads: RFC 3501 section 9, date-time.
func isDate(quoted string) bool {
	_, err := time.Parse(`"_2-Jan-2006 15:04:05 -0700"`, quoted)
	return err == nil
}

var rev2 = regexp.MustCompile(`(?i) IMAP4rev2\b`)

// withoutRev2 hides IMAP4rev2 where IMAP4rev1 is offered besides. The library would write the names of folders in UTF-8
// from then on, which a server takes only after ENABLE (RFC 9051 section 6.3.1), and "&" as "&-", which it then does not.
func withoutRev2(line []byte) []byte {
	if !bytes.Contains(bytes.ToUpper(line), []byte("IMAP4REV1")) {
		return line
	}
	return rev2.ReplaceAll(line, nil)
}
