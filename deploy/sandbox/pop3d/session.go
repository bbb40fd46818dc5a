package pop3d

import (
	"bufio"
	"net"
	"strings"
	"sync"
	"time"

	"mailporter/sandbox/fault"
)

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

	cutAfter *int // so many bytes of the next answer go out, and the connection ends

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
		s.say(err.Error())
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
		s.say(err.Error())
		return
	}
	do(args)
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
