package mail

import (
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
	fields, err := readFields(message, "To", "Cc", "Bcc")
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

// Addresses are those in the value of a header field, folded or not, as an envelope writes them. The error is a *HeaderError
// that names the field.
func Addresses(name, value string) (all []string, err error) {
	list, err := field{name, value}.addresses()
	for _, a := range list {
		quoted := (&mail.Address{Address: a}).String() // net/mail takes the quotes off, and envelopes want them
		all = append(all, quoted[1:len(quoted)-1])
	}
	return all, err
}
