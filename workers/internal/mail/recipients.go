package mail

import (
	"bufio"
	"fmt"
	"io"
	"mime"
	"net/mail"
	"regexp"
	"slices"
	"strings"
)

// HeaderError says why a message cannot be sent by a server that takes the recipients from its header.
type HeaderError struct {
	Field   string // To, Cc or Bcc; empty: the header as a whole
	Problem string // for people
}

// Error names the field.
func (e *HeaderError) Error() string {
	if e.Field == "" {
		return "the header " + e.Problem
	}
	return "the header's " + e.Field + " " + e.Problem
}

// Unnamed is for servers that take the recipients from the header. It returns the envelope's recipients that neither To nor
// Cc names, as the envelope writes them: they must be given to the server as Bcc, in place of the message's own.
//
// message is read up to the end of its header. A *HeaderError: To, Cc or Bcc names somebody who is none of the envelope's and
// would get the message all the same, or cannot be read. Any other error is message's own.
func Unnamed(e Envelope, message io.Reader) (bcc []string, err error) {
	fields, err := recipientFields(message)
	if err != nil {
		return nil, err
	}
	named := map[string]bool{} // whether To or Cc does, by address
	for _, f := range fields {
		addresses, err := f.addresses()
		if err != nil {
			return nil, err
		}
		for _, a := range addresses {
			if !e.has(a) {
				return nil, &HeaderError{f.name, fmt.Sprintf("names %s, who is no recipient of the envelope and would get the message", a)}
			}
			named[comparable(a)] = named[comparable(a)] || f.name != "Bcc"
		}
	}
	for _, to := range e.Recipients {
		if !named[comparable(to.Address)] {
			bcc = append(bcc, to.Address)
		}
	}
	return bcc, nil
}

func (e Envelope) has(address string) bool {
	return slices.ContainsFunc(e.Recipients, func(to Recipient) bool { return comparable(to.Address) == comparable(address) })
}

// comparable makes different spellings of an address equal. RFC 5321 section 2.4 lets the case of a local part matter; no
// provider does. Envelopes quote odd local parts, net/mail takes the quotes off.
func comparable(address string) string {
	if a, err := mail.ParseAddress("<" + address + ">"); err == nil {
		address = a.Address
	}
	return strings.ToLower(address)
}

// field is one field of a header, unfolded.
type field struct {
	name  string // To, Cc or Bcc
	value string
}

// maxHeader bounds what is read of a header, in bytes.
const maxHeader = 1 << 20

// recipientFields reads To, Cc and Bcc, however often they occur. Lines that are no fields are passed over rather than taken
// for the header's end: a server that is more patient would find recipients behind them.
func recipientFields(message io.Reader) ([]field, error) {
	bounded := &io.LimitedReader{R: message, N: maxHeader}
	var found fields
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
	all  []field
	open bool // the last of them may go on in the next line
}

func (f *fields) add(line string) {
	if line != "" && (line[0] == ' ' || line[0] == '\t') {
		if f.open {
			f.all[len(f.all)-1].value += line
		}
		return
	}
	name, value, _ := strings.Cut(line, ":")
	name = recipientField(name)
	if f.open = name != ""; f.open {
		f.all = append(f.all, field{name, value})
	}
}

// recipientField is the canonical name of a field, or empty if it holds no recipients. RFC 5322 section 4.5 allows blanks
// before the colon.
func recipientField(name string) string {
	name = strings.TrimSpace(name)
	for _, known := range []string{"To", "Cc", "Bcc"} {
		if strings.EqualFold(name, known) {
			return known
		}
	}
	return ""
}

// parser takes display names as they come: only addresses are of interest.
var parser = mail.AddressParser{WordDecoder: &mime.WordDecoder{CharsetReader: func(_ string, r io.Reader) (io.Reader, error) { return r, nil }}}

// bareName is an address that stands as display name without quotes, as many programs write it: a@b.example <a@b.example>.
var bareName = regexp.MustCompile(`(^|,)\s*([^\s"<>,;:()@]+@[^\s"<>,;:()@]+)\s+<`)

// addresses reads the list. Servers guess at lists that are none, each in its own way; nobody may get mail by a guess.
func (f field) addresses() (all []string, err error) {
	value := strings.TrimSpace(strings.ToValidUTF8(f.value, "?"))
	if value == "" {
		return nil, nil
	}
	list, err := parser.ParseList(bareName.ReplaceAllString(value, `$1 "$2" <`))
	if err != nil {
		return nil, &HeaderError{f.name, "cannot be read: " + strings.TrimPrefix(err.Error(), "mail: ")}
	}
	for _, a := range list {
		all = append(all, a.Address)
	}
	return all, nil
}
