package smtp

import (
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/intake"
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
	d := newDataReader(s.r, s.server.config)
	id, err := s.server.outbox.Add(s.ctx, outbound.Submission{Mailbox: s.mailbox, Envelope: s.envelope, Body: d})
	if !d.ended {
		if lost := d.skip(); lost != nil {
			s.over = true // nobody is there to answer
			return
		}
	}
	s.answer(id, d.failed, err)
	s.over = s.over || d.unclear
	s.reset()
}

// answer is the reply to a message: wrong is what the message itself was refused for, err what Add said.
func (s *session) answer(id string, wrong, err error) {
	refusal := intake.AsRefusal(wrong)
	switch {
	case refusal != nil:
		s.turnDown(refusal)
		s.over = s.over || refusal.Reason == intake.LoneLineEnd // nothing that follows is believed
	case fault.Of(err) == fault.Permanent: // more than the store keeps
		s.reply(552, "5.3.4 The outbox does not take it: "+err.Error())
	case err != nil:
		s.server.config.Log.Error("the outbox does not take mail", "mailbox", s.mailbox, "error", err)
		s.reply(451, "4.3.0 The outbox cannot take it now, try again later")
	default:
		s.errors = 0
		s.reply(250, "2.0.0 Queued as "+id)
	}
}
