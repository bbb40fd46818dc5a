package intake

import (
	"cmp"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"mailporter/workers/internal/mail"
)

// Rules are what every door asks of a message. A zero field has its default.
type Rules struct {
	MaxSize       int64  // of a message, in bytes; default 150 MiB
	MaxRecipients int    // of a message; default 1000
	MaxHops       int    // Received lines of a message; more is a loop; default 100 (RFC 5321 section 6.3)
	NullSender    string // the mailbox that sends what has no sender; empty: refused
}

// WithDefaults fills in what is zero.
func (r Rules) WithDefaults() Rules {
	r.MaxSize = cmp.Or(r.MaxSize, 150<<20)
	r.MaxRecipients = cmp.Or(r.MaxRecipients, 1000)
	r.MaxHops = cmp.Or(r.MaxHops, 100)
	return r
}

const unknownRemedy = "configure it at the broker with an smtp-client section, or as a sender alias, and allow this worker in the policy"

// Mailbox picks the mailbox that sends for the address from, empty for the null sender, and says whether the submitter may. The
// error is a *Refusal.
func (r Rules) Mailbox(s *Senders, by Submitter, from string) (string, error) {
	if from == "" {
		from = r.NullSender
	}
	if from == "" {
		return "", refuse(SenderMissing, "name a mailbox as the sender", "Mail without a sender is not taken here")
	}
	mailbox, known := s.Find(from)
	switch {
	case !known:
		return "", r.notYet()
	case mailbox == "":
		return "", refuse(SenderUnknown, unknownRemedy, "No mailbox here sends as this address")
	case !by.MaySend(from):
		return "", forbidden()
	}
	return mailbox, nil
}

// Named is Mailbox for a submitter who names the mailbox too: it must be one that sends for the address.
func (r Rules) Named(s *Senders, by Submitter, mailbox, from string) (string, error) {
	name, known := s.Sends(mailbox, from)
	switch {
	case !known:
		return "", r.notYet()
	case name == "":
		return "", refuse(SenderUnknown, unknownRemedy, "The mailbox is not here, or does not send as this address")
	case !by.MaySend(cmp.Or(from, name)):
		return "", forbidden()
	}
	return name, nil
}

func (Rules) notYet() *Refusal {
	return refuse(MailboxesUnknown, "", "The mailboxes are not known yet: the broker has not answered")
}

func forbidden() *Refusal {
	return refuse(SenderForbidden, "add the address to the submitter's senders in the worker's file", "This submitter may not send as this address")
}

// Check looks at an envelope that came whole: its addresses, its parameters, and how many recipients it has. Whoever is named
// twice is kept once. The error is a *Refusal.
func (r Rules) Check(e *mail.Envelope) error {
	if e.From != "" && !IsAddress(e.From) {
		return refuse(AddressInvalid, "", "The sender %q is no mail address", e.From)
	}
	if e.Return != "" && e.Return != "FULL" && e.Return != "HDRS" { // RFC 3461 section 4.3
		return refuse(EnvelopeInvalid, "", "RET is FULL or HDRS")
	}
	if !IsEnvelopeID(e.ID) {
		return refuse(EnvelopeInvalid, "", "ENVID is at most 100 characters of xtext (RFC 3461 section 4)")
	}
	var once []mail.Recipient
	seen := map[string]bool{}
	for _, to := range e.Recipients {
		if err := checkRecipient(to, e.UTF8); err != nil {
			return err
		}
		if !seen[to.Address] {
			seen[to.Address] = true
			once = append(once, to)
		}
	}
	e.Recipients = once
	return r.checkNumber(e)
}

func checkRecipient(to mail.Recipient, smtputf8 bool) error {
	switch {
	case !IsAddress(to.Address):
		return refuse(AddressInvalid, "", "The recipient %q is no mail address", to.Address)
	case !IsNotify(to.Notify):
		return refuse(EnvelopeInvalid, "", "NOTIFY is NEVER, or some of SUCCESS, FAILURE, DELAY")
	case !IsOriginal(to.Original, smtputf8):
		return refuse(EnvelopeInvalid, "", "ORCPT is TYPE;XTEXT of at most 500 characters (RFC 3461 section 4.2)")
	}
	return nil
}

func (r Rules) checkNumber(e *mail.Envelope) error {
	switch {
	case len(e.Recipients) == 0:
		return refuse(NoRecipients, "", "The message has no recipients")
	case len(e.Recipients) > r.MaxRecipients:
		return refuse(TooManyRecipients, "send again to the others", "At most %d recipients", r.MaxRecipients)
	case !e.UTF8 && (!IsASCII(e.From) || slices.ContainsFunc(e.Recipients, func(to mail.Recipient) bool { return !IsASCII(to.Address) })):
		return refuse(AddressInvalid, "", "An address needs SMTPUTF8")
	}
	return nil
}

// maxAddress is RFC 5321 section 4.5.3.1.3.
const maxAddress = 254

// IsAddress says whether s can stand in a path: local part and domain, without what would end a command.
func IsAddress(s string) bool {
	at := strings.LastIndexByte(s, '@')
	if at < 1 || at == len(s)-1 || len(s) > maxAddress || !utf8.ValidString(s) {
		return false
	}
	local, domain := s[:at], s[at+1:]
	if strings.ContainsFunc(s, control) || strings.ContainsAny(domain, ` <>"\,;`) {
		return false
	}
	if local[0] == '"' {
		return isQuoted(local)
	}
	return !strings.ContainsAny(local, ` <>()[]\,;:"@`)
}

func isQuoted(s string) bool {
	if len(s) < 2 || s[len(s)-1] != '"' {
		return false
	}
	for i := 1; i < len(s)-1; i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return false
		}
	}
	// The last quote must not be a quoted one: "a\" is open.
	backslashes := len(s[:len(s)-1]) - len(strings.TrimRight(s[:len(s)-1], `\`))
	return backslashes%2 == 0
}

func control(r rune) bool { return r < ' ' || r == 0x7f }

// IsASCII says whether an address needs no SMTPUTF8.
func IsASCII(s string) bool { return !strings.ContainsFunc(s, func(r rune) bool { return r > 0x7e }) }

// IsNotify is RFC 3461 section 4.1.
func IsNotify(s string) bool {
	if s == "" || s == "NEVER" {
		return true
	}
	words := strings.Split(s, ",")
	for _, word := range words {
		if word != "SUCCESS" && word != "FAILURE" && word != "DELAY" {
			return false
		}
	}
	return len(words) <= 3
}

// IsEnvelopeID is RFC 3461 section 4.4; empty is none.
func IsEnvelopeID(s string) bool { return len(s) <= 100 && isXtext(s) }

// IsOriginal is ORCPT of RFC 3461 section 4.2, empty for none, and within an SMTPUTF8 message RFC 6533 section 3.
func IsOriginal(s string, smtputf8 bool) bool {
	kind, address, found := strings.Cut(s, ";")
	switch {
	case s == "":
		return true
	case !found || kind == "" || len(s) > 500:
		return false
	case smtputf8:
		return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return control(r) || r == ' ' })
	}
	return isXtext(kind) && isXtext(address)
}

// isXtext is what may follow an = in a command: visible ASCII.
func isXtext(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// Guard is a reader that breaks off with a *Refusal where message breaks the rules.
func (r Rules) Guard(message io.Reader) io.Reader {
	return &guarded{message, r.Inspect()}
}

type guarded struct {
	io.Reader
	inspection *Inspection
}

// Read implements io.Reader.
func (g *guarded) Read(p []byte) (int, error) {
	n, err := g.Reader.Read(p)
	if refusal := g.inspection.Look(p[:n]); refusal != nil {
		return 0, refusal
	}
	if err == io.EOF {
		if refusal := g.inspection.End(); refusal != nil {
			return 0, refusal
		}
	}
	return n, err
}
