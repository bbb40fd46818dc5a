package smtp

import (
	"errors"
	"fmt"

	"mailporter/workers/internal/outbound"
)

func (s *session) data(rest string) {
	switch {
	case rest != "":
		s.wrong(501, "5.5.4 DATA takes nothing")
		return
	case len(s.envelope.Recipients) == 0:
		s.wrong(503, "5.5.1 RCPT first")
		return
	case !s.gate.enter(): // from here on a drain waits for us
		s.bye(421, "4.3.2 Shutting down, come back soon")
		return
	}
	defer s.gate.leave()
	s.reply(354, "End with CRLF.CRLF")
	if s.w.Flush() != nil {
		s.over = true
		return
	}
	s.take()
}

// take moves a message into the Outbox and answers for it.
func (s *session) take() {
	d := newDataReader(s.r, s.server.config.MaxSize, s.server.config.MaxHops)
	id, err := s.server.outbox.Add(s.ctx, outbound.Submission{Mailbox: s.mailbox, Envelope: s.envelope, Body: d})
	if !d.ended {
		if lost := d.skip(); lost != nil {
			s.over = true // nobody is there to answer
			return
		}
	}
	s.reset()
	s.answer(id, d.failed, err)
}

// answer is the reply to a message: wrong is what the message itself was refused for, err what Add said.
func (s *session) answer(id string, wrong, err error) {
	c := s.server.config
	switch {
	case errors.Is(wrong, errLoneLineEnd):
		s.bye(550, "5.6.11 Lines end with CRLF, never with CR or LF alone (RFC 5321 section 2.3.8): correct the program that sends this")
	case errors.Is(wrong, errTooLarge):
		s.reply(552, fmt.Sprintf("5.3.4 At most %d bytes", c.MaxSize))
	case errors.Is(wrong, errLoop):
		s.reply(554, fmt.Sprintf("5.4.6 More than %d Received lines: it runs in circles", c.MaxHops))
	case err != nil:
		c.Log.Error("the outbox does not take mail", "mailbox", s.mailbox, "error", err)
		s.reply(451, "4.3.0 The outbox cannot take it now, try again later")
	default:
		s.reply(250, "2.0.0 Queued as "+id)
	}
}
