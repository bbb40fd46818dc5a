package pop3d

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
)

func (s *session) capa() {
	if err := s.step("capa", ""); err != nil {
		s.say(err.Error())
		return
	}
	all := append([]string(nil), s.server.profile.capa...)
	if s.canStartTLS() {
		all = append(all, "STLS")
	} else {
		all = append(all, "USER", "SASL "+strings.Join(s.server.profile.mechanisms, " "))
	}
	s.lines("+OK", all...)
}

func (s *session) stat([]string) {
	n, bytes := s.drop.stat()
	s.say(fmt.Sprintf("+OK %d %d", n, bytes))
}

func (s *session) list(args []string) {
	s.listing(args, func(e *entry) string { return strconv.FormatInt(e.size(), 10) })
}

func (s *session) uidl(args []string) {
	s.listing(args, func(e *entry) string { return e.message.ID })
}

// listing answers with a line for one message or for each.
func (s *session) listing(args []string, of func(*entry) string) {
	if len(args) > 0 {
		e := s.drop.find(args[0])
		if e == nil {
			s.say("-ERR The specified message is out of range.")
			return
		}
		s.say("+OK " + args[0] + " " + of(e))
		return
	}
	var all []string
	for i := range s.drop.all {
		if e := &s.drop.all[i]; !e.deleted {
			all = append(all, strconv.Itoa(i+1)+" "+of(e))
		}
	}
	n, bytes := s.drop.stat()
	s.lines(fmt.Sprintf("+OK %d %d", n, bytes), all...)
}

func (s *session) retr(args []string) {
	e, raw := s.message(args, 1)
	if e == nil {
		return
	}
	if !s.body(raw, fmt.Sprintf("+OK %d octets", len(raw))) {
		return
	}
	e.retrieved = true
	s.server.count(func(st *Stats) { st.Retrieved[s.mailbox]++ })
}

func (s *session) top(args []string) {
	e, raw := s.message(args, 2)
	if e == nil {
		return
	}
	lines, err := strconv.Atoi(args[1])
	if err != nil || lines < 0 {
		s.say("-ERR The number of lines is not valid.")
		return
	}
	s.body(top(raw, lines), "+OK")
}

// top is the header, the blank line and the first lines of the body: RFC 1939 section 7.
func top(raw []byte, lines int) []byte {
	head, rest, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
	end := len(raw) - len(rest)
	if len(head) == len(raw) { // a header alone
		return raw
	}
	for ; lines > 0 && end < len(raw); lines-- {
		end += bytes.Index(raw[end:], []byte("\r\n")) + 2
	}
	return raw[:end]
}

// message is the one that the first of n words names, with the bytes that go over the wire.
func (s *session) message(args []string, n int) (*entry, []byte) {
	if len(args) != n {
		s.say("-ERR Command is not valid.")
		return nil, nil
	}
	e := s.drop.find(args[0])
	if e == nil {
		s.say("-ERR The specified message is out of range.")
		return nil, nil
	}
	raw, err := e.message.Raw()
	if err != nil {
		s.say("-ERR [SYS/TEMP] The message is not available")
		return nil, nil
	}
	return e, withLineEnd(raw)
}

func (s *session) dele(args []string) {
	e := (*entry)(nil)
	if len(args) == 1 {
		e = s.drop.find(args[0])
	}
	if e == nil {
		s.say("-ERR The specified message is out of range.")
		return
	}
	e.deleted = true
	s.say("+OK")
}

// quit leaves; with a mailbox open it removes what was deleted.
func (s *session) quit() {
	if s.drop != nil {
		if err := s.step("quit", ""); err != nil {
			s.say(err.Error())
			s.gone = true
			return
		}
		if err := s.drop.update(); err != nil {
			s.say("-ERR [SYS/TEMP] Some deleted messages were not removed")
			s.gone = true
			return
		}
	}
	s.say(s.server.profile.goodbye)
	s.gone = true
}
