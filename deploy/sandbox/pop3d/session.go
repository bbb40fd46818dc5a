package pop3d

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"mailporter/sandbox/fault"
)

// Limits of lines, in octets: RFC 2449 section 4 for commands, RFC 5034 section 4 for responses. Where AUTH may carry a
// token, its line may be as long as that.
const (
	maxCommand  = 255
	maxResponse = 64 << 10
)

// silence is how long a client may say nothing: RFC 1939 section 3 wants at least ten minutes.
const silence = 10 * time.Minute

// session answers the commands of one connection.
type session struct {
	server *Server
	in     *bufio.Reader

	mailbox string
	client  string
	user    string    // of USER
	drop    *maildrop // nil: not logged in
	gone    bool      // the connection is over, or nothing more is to be said
	lose    bool      // reset the connection instead of the next answer

	cutAfter *int // so many bytes of the next message go out, and the connection ends

	mu      sync.Mutex
	conn    net.Conn
	expired bool
	timer   *time.Timer
}

func newSession(s *Server, c net.Conn) *session {
	return &session{server: s, conn: c, in: bufio.NewReaderSize(c, maxResponse+2)}
}

// run answers one command after the other.
func (s *session) run() {
	defer s.end()
	if err := s.step("connect", s.server.profile.refused); err != nil {
		s.refuse(err)
		return
	}
	s.say(s.server.profile.greeting)
	for !s.gone {
		line, ok := s.readLine(maxResponse)
		if !ok {
			return
		}
		words := strings.Fields(line)
		switch {
		case s.isExpired():
			s.say(expired)
			return
		case len(words) == 0:
			s.say("-ERR Command is not valid.")
		case len(line)+2 > maxCommand && !(s.server.profile.oneLine && strings.EqualFold(words[0], "AUTH")):
			s.say("-ERR The command line is too long.")
		default:
			s.command(strings.ToLower(words[0]), words[1:], line)
		}
	}
}

func (s *session) end() {
	s.mu.Lock()
	if s.timer != nil {
		s.timer.Stop()
	}
	s.mu.Unlock()
	s.leave()
	_ = s.net().Close() // the client learns it
}

// leave gives the lock back. It comes before the end of the connection: a client that sees that may come in again at once
// (RFC 1939 section 6).
func (s *session) leave() {
	if s.drop != nil {
		s.drop.close()
		s.drop = nil
	}
}

// reset breaks the connection off.
func (s *session) reset() {
	s.leave()
	fault.ResetConn(s.net())
	s.gone = true
}

// command answers one line.
func (s *session) command(verb string, args []string, line string) {
	switch {
	case verb == "capa":
		s.capa()
	case verb == "quit":
		s.quit()
	case s.drop == nil:
		s.before(verb, args, line)
	default:
		s.transaction(verb, args)
	}
}

// before is the AUTHORIZATION state.
func (s *session) before(verb string, args []string, line string) {
	switch {
	case verb == "stls" && s.canStartTLS():
		s.startTLS()
	case s.canStartTLS() && (verb == "user" || verb == "pass" || verb == "auth"):
		s.say("-ERR Command is not valid in this state: TLS is required.")
	case verb == "user" && len(args) == 1:
		s.user = args[0]
		s.say("+OK")
	case verb == "pass" && s.user != "":
		_, word, _ := strings.Cut(line, " ") // a password may have spaces
		user := s.user
		s.user = ""
		if err := s.password(user, word); err != nil {
			s.refuse(err)
			return
		}
		s.say("+OK User successfully logged on.")
	case verb == "auth":
		s.authenticate(args)
	default:
		s.say("-ERR Command is not valid in this state.")
	}
}

// transaction is the TRANSACTION state.
func (s *session) transaction(verb string, args []string) {
	do := map[string]func([]string){
		"stat": s.stat, "list": s.list, "uidl": s.uidl, "retr": s.retr, "top": s.top, "dele": s.dele,
		"noop": func([]string) { s.say("+OK") }, "rset": func([]string) { s.drop.reset(); s.say("+OK") },
	}[verb]
	if do == nil {
		s.say("-ERR Command is not valid in this state.")
		return
	}
	if err := s.step(verb, ""); err != nil {
		s.refuse(err)
		return
	}
	do(args)
}

func (s *session) capa() {
	if err := s.step("capa", ""); err != nil {
		s.refuse(err)
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
	head, rest, _ := bytes.Cut(raw, []byte("\r\n\r\n"))
	out := append(append([]byte(nil), head...), "\r\n\r\n"...)
	for range lines {
		line, after, found := bytes.Cut(rest, []byte("\r\n"))
		if !found && len(line) == 0 {
			break
		}
		out, rest = append(append(out, line...), "\r\n"...), after
	}
	s.body(out, "+OK")
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
			s.refuse(err)
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

func (s *session) canStartTLS() bool {
	_, secure := s.net().(*tls.Conn)
	return s.server.config.Security == StartTLS && !secure
}

func (s *session) startTLS() {
	if s.in.Buffered() > 0 { // RFC 2595 section 4: nothing may be sent behind STLS in the clear
		s.say("-ERR Data behind STLS")
		s.gone = true
		return
	}
	s.say("+OK Begin TLS negotiation.")
	secure := tls.Server(s.net(), s.server.config.TLS)
	if err := secure.HandshakeContext(s.server.ctx); err != nil {
		s.gone = true
		return
	}
	s.mu.Lock()
	s.conn = secure
	s.mu.Unlock()
	s.in.Reset(secure)
}

func (s *session) net() net.Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn
}

// readLine reads a line without its end; false: the connection is over.
func (s *session) readLine(most int) (string, bool) {
	_ = s.net().SetReadDeadline(time.Now().Add(silence)) // an error shows in the read
	line, err := s.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) || len(line) > most+2 {
		s.say("-ERR The line is too long.")
		err = net.ErrClosed
	}
	if err != nil {
		s.gone = true
		return "", false
	}
	return strings.TrimRight(string(line), "\r\n"), true
}

// say answers with one line.
func (s *session) say(line string) { s.write([]byte(line + "\r\n")) }

// lines answers with several: RFC 1939 section 3.
func (s *session) lines(first string, all ...string) {
	var b bytes.Buffer
	b.WriteString(first + "\r\n")
	for _, line := range all {
		b.WriteString(line + "\r\n")
	}
	b.WriteString(".\r\n")
	s.write(b.Bytes())
}

// body answers with a message, dots stuffed; false: a fault cut it.
func (s *session) body(raw []byte, first string) bool {
	var b bytes.Buffer
	b.WriteString(first + "\r\n")
	head := b.Len()
	for line := range bytes.SplitAfterSeq(raw, []byte("\r\n")) {
		if len(line) > 0 && line[0] == '.' {
			b.WriteByte('.')
		}
		b.Write(line)
	}
	b.WriteString(".\r\n")
	if n := s.cutAfter; n != nil {
		s.cutAfter = nil
		s.write(b.Bytes()[:min(head+*n, b.Len()-3)])
		s.gone = true
		return false
	}
	s.write(b.Bytes())
	return !s.gone
}

func (s *session) write(b []byte) {
	if s.gone {
		return
	}
	if s.lose {
		s.reset()
		return
	}
	if _, err := s.net().Write(b); err != nil {
		s.gone = true
	}
}

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

// expireAt ends the session together with its token: the next command is its last.
func (s *session) expireAt(t time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.timer = time.AfterFunc(time.Until(t), func() {
		s.server.count(func(st *Stats) { st.Expired++ })
		s.mu.Lock()
		defer s.mu.Unlock()
		s.expired = true
	})
}

func (s *session) isExpired() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.expired
}
