package folder

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/intake"
	"mailporter/workers/internal/mail"
)

// field is one field of a header, unfolded, and where it stands in the file.
type field struct {
	name     string // in lower case
	value    string
	from, to int64 // bytes
}

// head is how a file begins: lines that are an envelope, or the message's header.
type head struct {
	explicit bool // it is an envelope
	unix     bool // lines end with LF alone
	fields   []field
	start    int64 // where it begins: behind a byte order mark
	end      int64 // where the rest of the file begins
}

// maxHead bounds what is read of an envelope or a header, in bytes.
const maxHead = 1 << 20

// invalid is an error that is the file's fault.
func invalid(format string, args ...any) error { return fault.Newf(fault.Permanent, format, args...) }

// readHead reads the envelope's lines, or the whole header if there are none.
func readHead(r io.Reader) (*head, error) {
	lines := bufio.NewReader(io.LimitReader(r, maxHead))
	h := &head{}
	if err := h.enter(lines); err != nil {
		return nil, err
	}
	for first := true; ; first = false {
		line, err := lines.ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read the header: %w", err)
		}
		if first {
			h.explicit = isEnvelope(line)
		}
		if first || h.explicit { // the message's own first line tells, not what somebody put before it
			h.unix = bytes.HasSuffix(line, []byte("\n")) && !bytes.HasSuffix(line, []byte("\r\n"))
		}
		if h.explicit && !isEnvelope(line) {
			return h, nil
		}
		if h.end+int64(len(line)) >= maxHead {
			return nil, invalid("the header has more than %d bytes; write the envelope as X-Sender and X-Receiver lines at the top", maxHead)
		}
		over, ferr := h.add(line)
		if over || err != nil || ferr != nil {
			return h, ferr
		}
	}
}

// enter passes over a byte order mark, which programs on Windows write: behind it an envelope, or a Bcc, would not be seen for
// what it is. What begins as no message does is refused.
func (h *head) enter(lines *bufio.Reader) error {
	switch mark, _ := lines.Peek(len(utf8Mark)); { // an error comes again
	case len(mark) == 0:
		return invalid("the file is empty; write it under another name, and rename it once it is complete")
	case bytes.HasPrefix(mark, []byte("\xff\xfe")), bytes.HasPrefix(mark, []byte("\xfe\xff")):
		return invalid("the file is UTF-16; write it as UTF-8, or ASCII")
	case string(mark) == utf8Mark:
		h.start += int64(len(mark))
		_, _ = lines.Discard(len(mark)) // it is there
	}
	if begin, _ := lines.Peek(len("From x")); isMailbox(begin) {
		return invalid("the file is a mailbox, with a line From before each message; write one message, without that line")
	}
	h.end = h.start
	return nil
}

const utf8Mark = "\xef\xbb\xbf"

// isMailbox tells the first line of a mailbox file from a field From with blanks before its colon.
func isMailbox(begin []byte) bool {
	rest, found := bytes.CutPrefix(begin, []byte("From "))
	return found && len(rest) > 0 && !bytes.ContainsAny(rest, ": \t\r\n")
}

// isEnvelope says whether a line is part of an envelope.
func isEnvelope(line []byte) bool {
	name, _, found := bytes.Cut(line, []byte(":"))
	return found && (bytes.EqualFold(name, []byte("X-Sender")) || bytes.EqualFold(name, []byte("X-Receiver")))
}

// add takes the next line; over is whether it ends the header.
func (h *head) add(line []byte) (over bool, err error) {
	from := h.end
	h.end += int64(len(line))
	text := strings.TrimRight(string(line), "\r\n")
	if text == "" {
		h.end = from // the empty line is the rest's
		return true, nil
	}
	if text[0] == ' ' || text[0] == '\t' {
		if len(h.fields) == 0 {
			return false, invalid("the header begins with a blank")
		}
		last := &h.fields[len(h.fields)-1]
		last.value, last.to = last.value+text, h.end
		return false, nil
	}
	name, value, found := strings.Cut(text, ":")
	if !found {
		return false, invalid("line %d of the header is no field, nor part of one", len(h.fields)+1)
	}
	name = strings.ToLower(strings.TrimRight(name, " \t")) // RFC 5322 section 4.5 allows blanks before the colon
	h.fields = append(h.fields, field{name, value, from, h.end})
	return false, nil
}

// envelope is who sends and who gets the message. Whether the addresses are any is for the rules to say.
func (h *head) envelope() (mail.Envelope, error) {
	var e mail.Envelope
	from, to, err := h.people()
	if err != nil {
		return e, err
	}
	if len(from) == 1 {
		e.From = from[0]
	}
	e.UTF8 = !intake.IsASCII(e.From)
	for _, address := range to {
		e.Recipients = append(e.Recipients, mail.Recipient{Address: address})
		e.UTF8 = e.UTF8 || !intake.IsASCII(address)
	}
	return e, nil
}

// people are the sender, or none, and the recipients.
func (h *head) people() (from, to []string, err error) {
	if h.explicit {
		if from = h.bare("x-sender"); len(from) > 1 {
			return nil, nil, invalid("there is more than one X-Sender; a message has one sender")
		}
		if to = h.bare("x-receiver"); len(to) == 0 {
			return nil, nil, invalid("X-Sender stands at the top of the file without an X-Receiver; name the recipients there, or let the header begin with another line")
		}
		return from, to, nil
	}
	if h.has("resent-") {
		return nil, nil, invalid("the header has Resent fields, and would go to its first recipients again; write X-Sender and X-Receiver lines at the top")
	}
	if from, err = h.author(); err != nil {
		return nil, nil, err
	}
	to, err = h.addresses("To", "Cc", "Bcc")
	return from, to, err
}

// author is the address in Sender, else that in From.
func (h *head) author() ([]string, error) {
	for _, name := range []string{"Sender", "From"} {
		all, err := h.addresses(name)
		if err != nil {
			return nil, err
		}
		if len(all) > 1 {
			return nil, invalid("%s names %d authors; say who of them sends in a field Sender", name, len(all))
		}
		if len(all) == 1 {
			return all, nil
		}
	}
	return nil, nil
}

// bare are the values of an envelope's lines, without angle brackets.
func (h *head) bare(name string) (all []string) {
	for _, f := range h.fields {
		if f.name == name {
			value := strings.TrimSpace(f.value)
			if strings.HasPrefix(value, "<") && strings.HasSuffix(value, ">") {
				value = value[1 : len(value)-1]
			}
			all = append(all, value)
		}
	}
	return all
}

// addresses are those in all fields of these names.
func (h *head) addresses(names ...string) (all []string, err error) {
	for _, name := range names {
		for _, f := range h.fields {
			if !strings.EqualFold(f.name, name) {
				continue
			}
			some, err := mail.Addresses(name, f.value)
			if err != nil {
				return nil, fault.New(fault.Permanent, err)
			}
			all = append(all, some...)
		}
	}
	return all, nil
}

// has says whether there is a field whose name begins so.
func (h *head) has(prefix string) bool {
	for _, f := range h.fields {
		if strings.HasPrefix(f.name, prefix) {
			return true
		}
	}
	return false
}

// message is the file less its byte order mark, less the envelope's lines or the Bcc fields, with CRLF at its line ends.
func (h *head) message(file io.ReaderAt) io.Reader {
	var pieces []io.Reader
	piece := func(from, to int64) { pieces = append(pieces, io.NewSectionReader(file, from, to-from)) }
	if !h.explicit {
		kept := h.start
		for _, f := range h.fields {
			if f.name == "bcc" {
				piece(kept, f.from)
				kept = f.to
			}
		}
		piece(kept, h.end)
	}
	piece(h.end, math.MaxInt64)
	whole := io.MultiReader(pieces...)
	if h.unix {
		return &crlf{r: bufio.NewReader(whole)}
	}
	return whole
}

// crlf gives lines that end with LF a CR. A CR that is there already gets another one, which the rules refuse: such a file is of
// both kinds.
type crlf struct {
	r    *bufio.Reader
	rest []byte
}

// Read implements io.Reader.
func (c *crlf) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		line, err := c.r.ReadSlice('\n')
		if len(line) == 0 {
			return 0, err
		}
		c.rest = line
		if line[len(line)-1] == '\n' {
			c.rest = append(bytes.Clone(line[:len(line)-1]), '\r', '\n')
		}
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}
