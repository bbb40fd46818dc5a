package smtp

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"mailporter/workers/internal/intake"
	"mailporter/workers/internal/mail"
)

// session is one connection.
type session struct {
	server *Server
	ctx    context.Context
	conn   net.Conn
	gate   *gate
	r      *bufio.Reader
	w      *bufio.Writer

	greeted  bool // EHLO or HELO came
	trusted  bool // by address or certificate
	user     bool // by AUTH
	secure   bool // within TLS
	errors   int  // commands that made no sense, refused logins; since the last message
	over     bool
	started  bool             // MAIL was accepted
	by       intake.Submitter // who it is, as far as that limits him
	mailbox  string
	envelope mail.Envelope
}

// maxCommand is how long a command line may be, in bytes: room for long DSN parameters.
const maxCommand = 8 << 10

// maxErrors ends a session that only errs.
const maxErrors = 10

// bufferSize is larger than any command, so that the parts of a message are read in large pieces.
const bufferSize = 64 << 10

func newSession(ctx context.Context, s *Server, conn net.Conn, g *gate) *session {
	x := &session{server: s, ctx: ctx, gate: g, trusted: s.allows(conn.RemoteAddr())}
	x.attach(conn)
	return x
}

// attach reads from and writes to conn from now on.
func (s *session) attach(conn net.Conn) {
	s.conn = conn
	s.r, s.w = bufio.NewReaderSize(conn, bufferSize), bufio.NewWriter(conn)
	if t, ok := conn.(*tls.Conn); ok {
		s.secure = true
		if by, ok := s.server.config.Clients.Admit(t.ConnectionState()); ok {
			s.trusted, s.by = true, by
			s.gate.welcome()
		}
	}
}

func (s *Server) allows(a net.Addr) bool {
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return false
	}
	ip := at.Addr().Unmap().WithZone("")
	return slices.ContainsFunc(s.config.Allow, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// run serves the connection to its end.
func (s *session) run() {
	s.reply(220, s.server.config.Hostname+" ESMTP Mailporter")
	for !s.over {
		line, err := s.line()
		if err != nil {
			s.farewell(err)
			return
		}
		s.handle(line)
		if s.errors > maxErrors {
			s.bye(421, "4.7.0 Too many errors")
		}
	}
	_ = s.w.Flush() // the client may be gone
}

// line reads a command. It ends early when the server drains.
func (s *session) line() (string, error) {
	if s.r.Buffered() == 0 {
		if err := s.w.Flush(); err != nil {
			return "", err
		}
	}
	if err := s.gate.extend(s.server.config.Idle); err != nil {
		return "", err
	}
	raw, err := s.r.ReadSlice('\n')
	if err != nil {
		return "", err
	}
	if len(raw) > maxCommand {
		return "", bufio.ErrBufferFull
	}
	return strings.TrimRight(string(raw), "\r\n"), nil
}

// farewell ends a session that got no further command.
func (s *session) farewell(err error) {
	var timeout net.Error
	switch {
	case s.gate.draining() || errors.Is(err, errDraining):
		s.bye(421, "4.3.2 Shutting down, come back soon")
	case errors.Is(err, bufio.ErrBufferFull):
		s.bye(500, "5.5.2 The line is too long")
	case s.gate.overstayed():
		s.bye(421, "4.7.0 Not logged in for too long")
	case errors.As(err, &timeout) && timeout.Timeout():
		s.bye(421, "4.4.2 Silent for too long")
	}
	_ = s.conn.SetWriteDeadline(time.Now().Add(time.Second))
	_ = s.w.Flush() // the client may be gone
}

// hangUp ends the connection; what was said last arrives.
func (s *session) hangUp() {
	if t, ok := s.conn.(*tls.Conn); ok {
		_ = t.CloseWrite() // or else the client could take the end for an attack; it may be gone
	}
	s.gate.linger()
}

func (s *session) reply(code int, lines ...string) {
	for i, l := range lines {
		sep := "-"
		if i == len(lines)-1 {
			sep = " "
		}
		_, _ = s.w.WriteString(strconv.Itoa(code) + sep + l + "\r\n") // the error stays in the writer until Flush
	}
}

// bye is the last reply.
func (s *session) bye(code int, text string) {
	s.reply(code, text)
	s.over = true
}

func (s *session) wrong(code int, text string) {
	s.errors++
	s.reply(code, text)
}

func (s *session) handle(line string) {
	verb, rest := parseCommand(line)
	switch verb {
	case "EHLO", "HELO":
		s.hello(verb)
	case "STARTTLS":
		s.startTLS()
	case "AUTH":
		s.auth(rest)
	case "MAIL":
		s.mail(rest)
	case "RCPT":
		s.rcpt(rest)
	case "DATA":
		s.data(rest)
	case "RSET":
		s.reset()
		s.reply(250, "2.0.0 Forgotten")
	case "NOOP":
		s.reply(250, "2.0.0 Yes")
	case "VRFY":
		s.reply(252, "2.1.5 Try to send")
	case "HELP":
		s.reply(214, "2.0.0 EHLO HELO STARTTLS AUTH MAIL RCPT DATA RSET NOOP VRFY QUIT")
	case "EXPN":
		s.wrong(502, "5.5.1 There are no lists here")
	case "QUIT":
		s.bye(221, "2.0.0 Bye")
	default:
		s.unknown(verb, line)
	}
}

// unknown is for a command that SMTP does not have. Two kinds end the session, since commands that are none of the client's would
// follow. A web page can make a browser on a machine that may submit post a form here. And a program that sends all it has
// without waiting for answers sends its message where DATA was refused, with what others wrote in it.
func (s *session) unknown(verb, line string) {
	switch {
	case strings.Contains(line, " HTTP/"):
		s.bye(500, "5.5.1 This is SMTP, not HTTP")
	case strings.Contains(verb, ":"):
		s.bye(500, "5.5.1 This is a message where a command belongs: wait for the answer to DATA")
	default:
		s.wrong(500, "5.5.1 No such command")
	}
}

func (s *session) reset() { s.started, s.mailbox, s.envelope = false, "", mail.Envelope{} }

// hello needs no name: nothing is made of it, and there are devices that have none to give.
func (s *session) hello(verb string) {
	s.reset()
	s.greeted = true
	if verb == "HELO" {
		s.reply(250, s.server.config.Hostname)
		return
	}
	lines := []string{s.server.config.Hostname, "PIPELINING", fmt.Sprintf("SIZE %d", s.server.config.MaxSize),
		"8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"}
	if s.canSecure() {
		lines = append(lines, "STARTTLS")
	}
	if s.mayAuth() {
		lines = append(lines, "AUTH PLAIN LOGIN")
	}
	s.reply(250, lines...)
}

func (s *session) canSecure() bool { return s.server.config.TLS != nil && !s.secure }

// mayAuth says whether passwords are welcome: within TLS, or where nobody listens.
func (s *session) mayAuth() bool {
	a, ok := s.conn.RemoteAddr().(*net.TCPAddr)
	return len(s.server.config.Users) > 0 && (s.secure || ok && a.IP.IsLoopback())
}

func (s *session) startTLS() {
	if !s.canSecure() {
		s.wrong(502, "5.5.1 No STARTTLS here")
		return
	}
	if s.r.Buffered() > 0 { // what was sent in the clear must not count within TLS
		s.bye(554, "5.5.1 Wait for the answer to STARTTLS")
		return
	}
	s.reply(220, "2.0.0 Go ahead")
	if s.w.Flush() != nil {
		s.over = true
		return
	}
	t := tls.Server(s.conn, s.server.config.TLS)
	if err := t.HandshakeContext(s.ctx); err != nil {
		s.server.noTLS(s.conn, err)
		s.over = true
		return
	}
	s.reset()
	s.greeted, s.user, s.by = false, false, intake.Submitter{}
	s.attach(t)
}

func (s *session) auth(rest string) {
	mechanism, initial, _ := strings.Cut(rest, " ")
	mechanism = strings.ToUpper(mechanism)
	switch {
	case len(s.server.config.Users) == 0:
		s.wrong(502, "5.5.1 Nobody logs in here: send without login, or add users to intake.smtp.users")
	case !s.mayAuth():
		s.wrong(538, "5.7.11 Passwords want TLS: STARTTLS first")
	case s.user || s.started:
		s.wrong(503, "5.5.1 AUTH does not belong here")
	case mechanism != "PLAIN" && mechanism != "LOGIN":
		s.wrong(504, "5.5.4 PLAIN or LOGIN")
	default:
		s.login(mechanism, initial)
	}
}

func (s *session) login(mechanism, initial string) {
	user, password, err := s.credentials(mechanism, initial)
	by, known := s.server.config.login(user, password)
	switch {
	case errors.Is(err, errCancelled):
		s.reply(501, "5.7.0 As you like")
	case err != nil:
		s.wrong(501, "5.5.2 That was no "+mechanism+" response")
	case !known:
		s.server.config.Log.Warn("refused a login", "remote", s.conn.RemoteAddr().String())
		s.errors += maxErrors / 4
		time.Sleep(s.server.config.Penalty)
		s.wrong(535, "5.7.8 User or password is wrong")
	default:
		s.user, s.by = true, by
		s.gate.welcome()
		s.reply(235, "2.7.0 Welcome")
	}
}
