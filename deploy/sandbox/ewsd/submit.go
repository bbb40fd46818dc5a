package ewsd

import (
	"bytes"
	"encoding/json"
	"net/mail"
	"slices"
	"strings"

	"mailporter/sandbox/bounce"
	"mailporter/sandbox/fault"
	"mailporter/sandbox/mailstore"
)

// letter is a message on its way out.
type letter struct {
	raw  []byte
	over map[string]string // recipients in place of the header's, beside other properties
}

var (
	sendAsDenied  = message{code: "ErrorSendAsDenied", text: "The user account which was used to submit this request does not have the right to send mail on behalf of the specified sending account."}
	quotaExceeded = message{code: "ErrorSubmissionQuotaExceeded", text: "The message can't be submitted because the sender's submission quota was exceeded."}
	noRecipients  = message{code: "ErrorMissingRecipients", text: "At least one recipient is required."}
	badRecipient  = message{code: "ErrorInvalidRecipients", text: "At least one recipient isn't valid."}
)

// submit sends a letter to everybody: all or none. Nobody but the sender sees Bcc.
func (s *Server) submit(c *call, l letter) (refused message) {
	m, err := mail.ReadMessage(bytes.NewReader(l.raw))
	if err != nil {
		return message{code: "ErrorMimeContentInvalid", text: "The MIME content is invalid."}
	}
	from := c.mailbox
	if list, err := m.Header.AddressList("From"); err == nil {
		from = list[0].Address
	}
	if !s.config.Directory.MaySendAs(c.claims, c.mailbox, from) {
		return sendAsDenied
	}
	to, err := l.recipients(m.Header)
	if err != nil {
		return badRecipient
	}
	if len(to) == 0 {
		return noRecipients
	}
	if !s.config.Sending.Recipients(c.mailbox, len(to)) {
		return quotaExceeded
	}
	return s.deliver(c, from, to, withoutBcc(l.raw))
}

// recipients are everybody's addresses, in lower case and each once.
func (l letter) recipients(h mail.Header) (all []string, err error) {
	for field, key := range map[string]string{"To": overTo, "Cc": overCc, "Bcc": overBcc} {
		list, err := l.list(h, field, key)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

func (l letter) list(h mail.Header, field, key string) (all []string, err error) {
	lines := h[field]
	if over, has := l.over[key]; has {
		if err := json.Unmarshal([]byte(over), &lines); err != nil {
			return nil, err
		}
	}
	for _, line := range lines {
		if strings.TrimSpace(line) == "" {
			continue
		}
		list, err := mail.ParseAddressList(line)
		if err != nil {
			return nil, err
		}
		for _, a := range list {
			all = append(all, strings.ToLower(a.Address))
		}
	}
	return all, nil
}

// deliver gives the message to the mailboxes that are here and notes it for the others. Exchange accepts mail for its own
// domains first and reports to the sender whom it did not find.
func (s *Server) deliver(c *call, from string, to []string, raw []byte) message {
	var targets []mailstore.Target
	var out *mailstore.Outbound
	var unknown []string
	for _, a := range to {
		switch {
		case s.config.Store.Exists(a):
			targets = append(targets, mailstore.Target{Mailbox: a, Folder: mailstore.Inbox})
		case s.config.Directory.Local(a):
			unknown = append(unknown, a)
		case out == nil:
			out = &mailstore.Outbound{From: from, To: []string{a}}
		default:
			out.To = append(out.To, a)
		}
	}
	_, err := s.config.Store.Deliver(raw, targets, out)
	if err == nil && len(unknown) > 0 {
		_, err = s.config.Store.Deliver(bounce.Report(c.mailbox, unknown), []mailstore.Target{{Mailbox: c.mailbox, Folder: mailstore.Inbox}}, nil)
	}
	if err != nil {
		s.config.Log.Error("message not stored", "mailbox", c.mailbox, "error", err)
		return broken
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Accepted[c.mailbox]++
	return message{}
}

// withoutBcc takes the Bcc fields out of a header and leaves every other byte as it is.
func withoutBcc(raw []byte) []byte {
	var out []byte
	for rest, dropping := raw, false; ; {
		line, after, more := bytes.Cut(rest, []byte("\n"))
		if len(bytes.TrimRight(line, "\r")) == 0 || !more {
			return append(out, rest...)
		}
		if line[0] != ' ' && line[0] != '\t' {
			name, _, _ := bytes.Cut(line, []byte(":"))
			dropping = bytes.EqualFold(bytes.TrimSpace(name), []byte("Bcc"))
		}
		if !dropping {
			out = append(out, rest[:len(line)+1]...)
		}
		rest = after
	}
}

// wait holds a message up that is one too many in its minute.
func (s *Server) wait(c *call) {
	fault.Wait(c.Context(), s.config.Sending.Turn(c.mailbox))
}
