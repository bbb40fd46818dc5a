package pop3d

import (
	"io"
	"net"
	"strings"
	"time"

	"mailporter/sandbox/fault"
)

// step lets a fault happen. A nil error means: go on. refused is what a token that is taken for a bad one hears.
func (s *session) step(name, refused string) error {
	rule := s.server.config.Faults.Take(fault.Point{Target: fault.POP3, Step: name, Mailbox: s.mailbox, Client: s.client})
	if rule == nil {
		return nil
	}
	switch rule.Action {
	case fault.Delay:
		fault.Wait(s.server.ctx, rule.Delay)
	case fault.Stall:
		_ = s.net().SetReadDeadline(time.Time{}) // an error means that it is gone
		_, _ = io.Copy(io.Discard, s.in)
		s.gone = true
		return net.ErrClosed
	case fault.Reset:
		s.reset()
		return net.ErrClosed
	case fault.LoseAnswer:
		s.lose = true
	case fault.Cut:
		s.cutAfter = &rule.Bytes
	case fault.RefuseToken:
		return refusal(refused)
	case fault.Reply:
		return refusal(reply(rule.Text))
	}
	return nil
}

// reply makes an answer of a text that may lack its beginning.
func reply(text string) string {
	if strings.HasPrefix(text, "-ERR") || strings.HasPrefix(text, "+OK") {
		return text
	}
	return "-ERR " + text
}
