package smtp

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"mailporter/workers/internal/intake"
	"mailporter/workers/internal/mail"
)

func (s *session) mail(rest string) {
	path, ok := cutFold(rest, "FROM:")
	from, p, err := parsePath(path)
	switch {
	case !s.greeted:
		s.wrong(503, "5.5.1 EHLO first")
	case !s.trusted && !s.user:
		s.note("NOT_LOGGED_IN")
		s.wrong(530, "5.7.0 This address may not submit without login: log in, show a certificate, or add it to intake.smtp.allow")
	case s.started:
		s.wrong(503, "5.5.1 One message at a time; RSET starts over")
	case !ok || err != nil:
		s.wrong(501, syntax(err, "5.1.7")+" MAIL FROM:<address> [parameters]"+because(err))
	default:
		s.begin(from, p)
	}
}

func because(err error) string {
	if err == nil {
		return ""
	}
	return ": " + err.Error()
}

// syntax is the status code of a command that cannot be read: address, if that is what is wrong (RFC 3463 section 3.2).
func syntax(err error, address string) string {
	if errors.Is(err, errAddress) || errors.Is(err, errPath) {
		return address
	}
	return "5.5.4"
}

// begin opens a transaction if the sender is one of ours.
func (s *session) begin(from string, p parameters) {
	env := mail.Envelope{From: from}
	if code, text := s.mailParameters(&env, p); code != 0 {
		s.reply(code, text)
		return
	}
	if !intake.IsASCII(from) && !env.UTF8 {
		s.reply(550, "5.6.7 This sender needs SMTPUTF8")
		return
	}
	mailbox, err := s.server.config.Mailbox(s.server.senders, s.by, from)
	if err != nil {
		s.turnDown(err)
		return
	}
	s.started, s.mailbox, s.envelope = true, mailbox, env
	s.reply(250, "2.1.0 Sender is ours")
}

// code is the reply code and enhanced status code of a refusal (RFC 3463).
func code(r *intake.Refusal) (int, string) {
	switch r.Reason {
	case intake.MailboxesUnknown:
		return 451, "4.3.0 "
	case intake.LoneLineEnd:
		return 550, "5.6.11 "
	case intake.TooLarge:
		return 552, "5.3.4 "
	case intake.Loop:
		return 554, "5.4.6 "
	}
	return 550, "5.7.1 "
}

// turnDown replies why not.
func (s *session) turnDown(err error) {
	r := intake.AsRefusal(err)
	number, status := code(r)
	s.note(r.Reason)
	s.reply(number, status+r.Error())
}

// note tells the operator why something was not taken: few devices show their owner what we say to them. Correspondents have
// no place in a log.
func (s *session) note(why intake.Reason) {
	s.server.config.Log.Warn("refused mail", "remote", s.conn.RemoteAddr().String(), "reason", string(why))
}

// mailParameters reads SIZE, BODY, SMTPUTF8, RET, ENVID and AUTH; code is 0 if all is well.
func (s *session) mailParameters(env *mail.Envelope, p parameters) (code int, text string) {
	for name, value := range p {
		upper := strings.ToUpper(value)
		switch name {
		case "SIZE": // RFC 1870 section 5
			n, err := strconv.ParseUint(value, 10, 63)
			if err != nil {
				return 501, "5.5.4 SIZE is a number"
			}
			if int64(n) > s.server.config.MaxSize {
				return 552, fmt.Sprintf("5.3.4 At most %d bytes", s.server.config.MaxSize)
			}
		case "BODY":
			if upper != "7BIT" && upper != "8BITMIME" {
				return 501, "5.5.4 BODY is 7BIT or 8BITMIME"
			}
			env.EightBit = upper == "8BITMIME"
		case "SMTPUTF8":
			env.UTF8 = true
		case "RET": // RFC 3461 section 4.3
			if upper != "FULL" && upper != "HDRS" {
				return 501, "5.5.4 RET is FULL or HDRS"
			}
			env.Return = upper
		case "ENVID":
			if !intake.IsEnvelopeID(value) {
				return 501, "5.5.4 ENVID is at most 100 characters of xtext (RFC 3461 section 4)"
			}
			env.ID = value
		case "AUTH": // RFC 4954 section 5: whose mail it was before is not ours to tell
		default:
			return 555, "5.5.4 No such parameter: " + name
		}
	}
	return 0, ""
}

func (s *session) rcpt(rest string) {
	path, ok := cutFold(rest, "TO:")
	to, p, err := parsePath(path)
	switch {
	case !s.started:
		s.wrong(503, "5.5.1 MAIL first")
	case !ok || err != nil || to == "":
		// No error of the client's: a program with a list of recipients does not know better.
		s.reply(501, syntax(err, "5.1.3")+" RCPT TO:<address> [parameters]"+because(err))
	case !intake.IsASCII(to) && !s.envelope.UTF8:
		s.reply(553, "5.6.7 This recipient needs SMTPUTF8")
	default:
		s.recipient(mail.Recipient{Address: to}, p)
	}
}

func (s *session) recipient(to mail.Recipient, p parameters) {
	for name, value := range p {
		switch name {
		case "NOTIFY":
			to.Notify = strings.ToUpper(value)
		case "ORCPT":
			to.Original = value
		default:
			s.reply(555, "5.5.4 No such parameter: "+name)
			return
		}
	}
	switch {
	case !intake.IsNotify(to.Notify):
		s.reply(501, "5.5.4 NOTIFY is NEVER, or some of SUCCESS, FAILURE, DELAY")
		return
	case !intake.IsOriginal(to.Original, s.envelope.UTF8):
		s.reply(501, "5.5.4 ORCPT is TYPE;XTEXT of at most 500 characters (RFC 3461 section 4.2)")
		return
	case slices.ContainsFunc(s.envelope.Recipients, func(r mail.Recipient) bool { return r.Address == to.Address }):
		// Once is enough; whoever was named twice gets one copy.
	case len(s.envelope.Recipients) >= s.server.config.MaxRecipients:
		s.reply(452, fmt.Sprintf("4.5.3 At most %d recipients; send again to the others", s.server.config.MaxRecipients))
		return
	default:
		s.envelope.Recipients = append(s.envelope.Recipients, to)
	}
	s.reply(250, "2.1.5 Recipient noted")
}
