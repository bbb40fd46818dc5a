package graphd

import (
	"net/http"
	"slices"
	"strings"

	"mailporter/sandbox/bounce"
	"mailporter/sandbox/fault"
	"mailporter/sandbox/mailstore"
)

var accepted = fault.Answer{Status: http.StatusAccepted}

// sendDraft sends a draft: it goes to Sent Items under the immutable id that it has.
func (s *Server) sendDraft(c *call) fault.Answer {
	if c.ContentLength != 0 {
		return fail(http.StatusLengthRequired, "BadRequest", "The request has no body, and says so with Content-Length: 0.")
	}
	fault.Wait(c.Context(), s.config.Sending.Turn(c.mailbox))
	s.drafts.mu.Lock()
	defer s.drafts.mu.Unlock()
	f, m, refused := s.found(c)
	switch {
	case refused != nil:
		return *refused
	case !m.Has(`\Draft`):
		return notADraft
	}
	raw, err := m.Raw()
	if err != nil {
		return broken
	}
	to, refused := s.checked(c, raw)
	if refused != nil {
		return *refused
	}
	store := s.config.Store
	if err := store.SetFlags(c.mailbox, f.Name, []uint32{m.UID}, mailstore.FlagsSet, []string{`\Seen`}); err != nil {
		return broken
	}
	if _, err := store.Move(c.mailbox, f.Name, []uint32{m.UID}, store.Used(c.mailbox, mailstore.UseSent)); err != nil {
		return broken
	}
	delete(s.drafts.json, m.ID)
	return s.deliver(c, raw, to)
}

// sendMail sends a message of MIME in one step.
func (s *Server) sendMail(c *call) fault.Answer {
	if !strings.HasPrefix(c.Header.Get("Content-Type"), "text/plain") {
		return fail(http.StatusUnsupportedMediaType, "UnsupportedMediaType", "The sandbox takes MIME here; write a draft for JSON.")
	}
	raw, refused := mimeOf(c)
	if refused != nil {
		return *refused
	}
	to, refused := s.checked(c, raw)
	if refused != nil {
		return *refused
	}
	fault.Wait(c.Context(), s.config.Sending.Turn(c.mailbox))
	sent := mailstore.Target{Mailbox: c.mailbox, Folder: s.config.Store.Used(c.mailbox, mailstore.UseSent), Flags: []string{`\Seen`}}
	if _, err := s.config.Store.Deliver(raw, []mailstore.Target{sent}, nil); err != nil {
		return broken
	}
	return s.deliver(c, raw, to)
}

// checked says who gets a message, or why it may not be sent.
func (s *Server) checked(c *call, raw []byte) (to []string, refused *fault.Answer) {
	from, ok := named(raw, "From")
	if !ok {
		return nil, &noMIME
	}
	for _, sender := range from {
		if !s.config.Directory.MaySendAs(c.claims, c.mailbox, sender) {
			return nil, answer(fail(http.StatusForbidden, "ErrorSendAsDenied",
				"The user account which was used to submit this request does not have the right to send mail on behalf of the specified sending account."))
		}
	}
	to, ok = named(raw, "To", "Cc", "Bcc")
	if !ok || len(to) == 0 {
		return nil, &noList
	}
	if !s.config.Sending.Recipients(c.mailbox, len(to)) {
		return nil, answer(fail(http.StatusTooManyRequests, "ErrorSubmissionQuotaExceeded", "The message can't be submitted because the sender's submission quota was exceeded."))
	}
	return to, nil
}

// deliver puts the message into the inboxes of those who are here. Nobody sees Bcc but the sender, in Sent Items. Exchange
// accepts mail for its own domains first and reports to the sender whom it did not find.
func (s *Server) deliver(c *call, raw []byte, to []string) fault.Answer {
	var targets []mailstore.Target
	var foreign, unknown []string
	for i, address := range to {
		to[i] = strings.ToLower(address)
	}
	slices.Sort(to)
	for _, address := range slices.Compact(to) {
		switch {
		case s.config.Store.Exists(address):
			targets = append(targets, mailstore.Target{Mailbox: address, Folder: mailstore.Inbox})
		case s.config.Directory.Local(address):
			unknown = append(unknown, address)
		default:
			foreign = append(foreign, address)
		}
	}
	var out *mailstore.Outbound
	if len(foreign) > 0 {
		out = &mailstore.Outbound{From: c.mailbox, To: foreign}
	}
	if _, err := s.config.Store.Deliver(without(raw, "Bcc"), targets, out); err != nil {
		return broken
	}
	if len(unknown) > 0 {
		if _, err := s.config.Store.Deliver(bounce.Report(c.mailbox, unknown), []mailstore.Target{{Mailbox: c.mailbox, Folder: mailstore.Inbox}}, nil); err != nil {
			return broken
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Sent[c.mailbox]++
	return accepted
}
