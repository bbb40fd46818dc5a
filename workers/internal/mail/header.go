package mail

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// field is one field of a header, unfolded.
type field struct {
	name  string // as it was asked for
	value string
}

// maxHeader bounds what is read of a header, in bytes.
const maxHeader = 1 << 20

// readFields reads the fields of these names, however often they occur. Lines that are no fields are passed over rather
// than taken for the header's end: a server that is more patient would find fields behind them.
func readFields(message io.Reader, names ...string) ([]field, error) {
	bounded := &io.LimitedReader{R: message, N: maxHeader}
	found := fields{names: names}
	for lines := bufio.NewReader(bounded); ; {
		line, err := lines.ReadString('\n')
		if err != nil && err != io.EOF {
			return nil, err
		}
		text := strings.TrimRight(line, "\r\n")
		found.add(text)
		switch {
		case err == io.EOF && bounded.N <= 0:
			return nil, &HeaderError{"", fmt.Sprintf("has more than %d bytes", maxHeader)}
		case text == "" || err == io.EOF:
			return found.all, nil
		}
	}
}

// fields gathers lines.
type fields struct {
	names []string
	all   []field
	open  bool // the last of them may go on in the next line
}

func (f *fields) add(line string) {
	if line != "" && (line[0] == ' ' || line[0] == '\t') {
		if f.open {
			f.all[len(f.all)-1].value += line
		}
		return
	}
	name, value, _ := strings.Cut(line, ":")
	name = f.canonical(name)
	if f.open = name != ""; f.open {
		f.all = append(f.all, field{name, value})
	}
}

// canonical is a field's name as it was asked for, or empty. RFC 5322 section 4.5 allows blanks before the colon.
func (f *fields) canonical(name string) string {
	name = strings.TrimSpace(name)
	for _, wanted := range f.names {
		if strings.EqualFold(name, wanted) {
			return wanted
		}
	}
	return ""
}

// maxMessageID is the longest line of RFC 5322 section 2.1.1, in bytes.
const maxMessageID = 998

var messageID = regexp.MustCompile(`^<[!-;=?-~]+>$`)

// MessageID is the message's Message-ID with its angle brackets, or empty if it has none, several, or one by which nobody
// could look for it: RFC 5322 section 3.6.4 leaves no blanks and no other angle brackets within. message is read up to the
// end of its header; the error is message's own, or a *HeaderError.
func MessageID(message io.Reader) (string, error) {
	found, err := readFields(message, "Message-ID")
	if err != nil || len(found) != 1 {
		return "", err
	}
	id := strings.TrimSpace(found[0].value)
	if len(id) > maxMessageID || !messageID.MatchString(id) {
		return "", nil
	}
	return id, nil
}
