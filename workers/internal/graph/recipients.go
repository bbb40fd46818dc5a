package graph

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"mime"
	netmail "net/mail"
	"net/textproto"
	"regexp"
	"slices"
	"strings"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
)

// Graph sends a message to those whom its fields name, in the name of the mailbox. An envelope that says something else is
// brought about by changing the draft's Bcc and sender, which are properties, not bytes; what cannot be is refused.

// recipient is an address as Graph writes it.
type recipient struct {
	EmailAddress emailAddress `json:"emailAddress"`
}

type emailAddress struct {
	Name    string `json:"name,omitempty"`
	Address string `json:"address"`
}

func recipients(list []string) []recipient {
	out := make([]recipient, 0, len(list))
	for _, a := range list {
		out = append(out, recipient{emailAddress{Address: a}})
	}
	return out
}

// changes are what a draft needs beyond the bytes of its message. Empty: nothing.
type changes struct {
	From          *recipient   `json:"from,omitempty"`
	BccRecipients *[]recipient `json:"bccRecipients,omitempty"`
}

func (c changes) none() bool { return c.From == nil && c.BccRecipients == nil }

// maxHeader bounds a message's header, in bytes.
const maxHeader = 1 << 20

// readHeader reads the header of a message and no more.
func readHeader(b mail.Body) (h textproto.MIMEHeader, err error) {
	r, err := b.Open()
	if err != nil {
		return nil, fmt.Errorf("open message: %w", err)
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	seen := &remembering{r: io.LimitReader(r, maxHeader)}
	h, err = textproto.NewReader(bufio.NewReader(seen)).ReadMIMEHeader()
	switch {
	case seen.err != nil:
		return nil, fmt.Errorf("read message: %w", seen.err)
	case err != nil && !errors.Is(err, io.EOF): // a message may end with its header
		return nil, &fault.Error{Kind: fault.Permanent, Reason: "CONTENT_INVALID", Err: errors.New("the message's header cannot be read"), Remedy: mend}
	}
	return h, nil
}

// remembering tells a message that cannot be read from one that makes no sense.
type remembering struct {
	r   io.Reader
	err error
}

func (r *remembering) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

// parser takes names in any charset: they are not looked at.
var parser = netmail.AddressParser{WordDecoder: &mime.WordDecoder{CharsetReader: func(_ string, r io.Reader) (io.Reader, error) { return r, nil }}}

// noMembers is a group of nobody, as programs write it that hide their recipients: RFC 5322 section 3.4.
var noMembers = regexp.MustCompile(`^[^:<>@]*:\s*;\s*$`)

// addresses are those that a field names.
func addresses(h textproto.MIMEHeader, field string) ([]*netmail.Address, error) {
	var all []*netmail.Address
	for _, value := range h.Values(field) {
		if strings.TrimSpace(value) == "" || noMembers.MatchString(value) {
			continue
		}
		list, err := parser.ParseList(strings.ToValidUTF8(value, "?"))
		if err != nil {
			return nil, &fault.Error{
				Kind: fault.Permanent, Reason: "RECIPIENTS_INVALID", Err: fmt.Errorf("the field %s cannot be read, and Graph takes addresses from it", field),
				Remedy: "write it as RFC 5322 section 3.4 wants it",
			}
		}
		all = append(all, list...)
	}
	return all, nil
}

func named(list []*netmail.Address) []string {
	out := make([]string, 0, len(list))
	for _, a := range list {
		out = append(out, strings.ToLower(a.Address))
	}
	return out
}

// reconcile says what makes a message with this header go to the envelope's recipients and to nobody else.
func reconcile(h textproto.MIMEHeader, e mail.Envelope) (bcc *[]recipient, err error) {
	var open, hidden []string
	for _, field := range []string{"To", "Cc", "Bcc"} {
		list, err := addresses(h, field)
		switch {
		case err != nil:
			return nil, err
		case field == "Bcc":
			hidden = named(list)
		default:
			open = append(open, named(list)...)
		}
	}
	var wanted, unseen []string
	for _, to := range e.Recipients {
		wanted = append(wanted, strings.ToLower(to.Address))
		if !slices.Contains(open, strings.ToLower(to.Address)) {
			unseen = append(unseen, to.Address)
		}
	}
	if n := countMissing(open, wanted); n > 0 {
		return nil, &fault.Error{
			Kind: fault.Permanent, Reason: "HEADER_NAMES_OTHERS",
			Err:    fmt.Errorf("the fields To and Cc name %d whom the envelope leaves out; over Graph a message goes to all whom they name", n),
			Remedy: "name the same recipients in both, or send this message by SMTP",
		}
	}
	if sameAddresses(hidden, unseen) {
		return nil, nil
	}
	list := recipients(unseen)
	return &list, nil
}

// countMissing counts those of list that are not in among.
func countMissing(list, among []string) (n int) {
	for _, a := range list {
		if !slices.Contains(among, a) {
			n++
		}
	}
	return n
}

func sameAddresses(lower, other []string) bool {
	fold := make([]string, 0, len(other))
	for _, a := range other {
		fold = append(fold, strings.ToLower(a))
	}
	return countMissing(lower, fold) == 0 && countMissing(fold, lower) == 0
}

// sender says whom the draft is to be sent as: nil is the mailbox. Exchange sends MIME as the mailbox whatever its From
// says, so another sender is set on the draft, and only where that is allowed.
func (t *Transport) sender(h textproto.MIMEHeader) (*recipient, error) {
	list, err := addresses(h, "From")
	if err != nil || len(list) == 0 {
		return nil, err
	}
	from := list[0]
	switch {
	case len(list) > 1:
		return nil, fault.Newf(fault.Permanent, "the field From names %d senders; Graph knows one", len(list))
	case t.own(from.Address):
		return nil, nil
	case !t.config.Settings.Outbound.AllowDelegate:
		return nil, &fault.Error{
			Kind: fault.Permanent, Reason: sendAsDenied, Err: errors.New("the field From names another sender than the mailbox, and Graph would write the mailbox there"),
			Remedy: "set allow-delegate for this mailbox and let an administrator grant SendAs, or write the mailbox's address in From",
		}
	}
	return &recipient{emailAddress{from.Name, from.Address}}, nil
}

func (t *Transport) own(a string) bool {
	s := t.config.Settings
	return strings.EqualFold(a, s.Mailbox) || strings.EqualFold(a, s.Endpoint.User)
}
