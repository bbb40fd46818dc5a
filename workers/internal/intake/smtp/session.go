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

	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
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
	errors   int  // commands that made no sense, refused logins
	over     bool
	started  bool // MAIL was accepted
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
		s.trusted = s.trusted || len(t.ConnectionState().VerifiedChains) > 0
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
	if !s.gate.open(s.server.config.Idle) {
		return "", errDraining
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
	case errors.As(err, &timeout) && timeout.Timeout():
		s.bye(421, "4.4.2 Silent for too long")
	}
	_ = s.conn.SetWriteDeadline(time.Now().Add(time.Second))
	_ = s.w.Flush() // the client may be gone
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
		s.hello(verb, rest)
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
	case "QUIT":
		s.bye(221, "2.0.0 Bye")
	default:
		s.wrong(500, "5.5.1 No such command")
	}
}

func (s *session) reset() { s.started, s.mailbox, s.envelope = false, "", mail.Envelope{} }

func (s *session) hello(verb, name string) {
	if name == "" {
		s.wrong(501, "5.5.4 "+verb+" needs a name")
		return
	}
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
		s.over = true
		return
	}
	s.reset()
	s.greeted, s.user = false, false
	s.attach(t)
}

func (s *session) auth(rest string) {
	mechanism, initial, _ := strings.Cut(rest, " ")
	mechanism = strings.ToUpper(mechanism)
	switch {
	case !s.mayAuth():
		s.wrong(538, "5.7.11 AUTH needs TLS and configured users")
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
	switch {
	case errors.Is(err, errCancelled):
		s.reply(501, "5.7.0 As you like")
	case err != nil:
		s.wrong(501, "5.5.2 That was no "+mechanism+" response")
	case !s.server.config.knows(user, password):
		s.server.config.Log.Warn("refused a login", "remote", s.conn.RemoteAddr().String())
		s.errors += maxErrors / 4
		s.wrong(535, "5.7.8 User or password is wrong")
	default:
		s.user = true
		s.reply(235, "2.7.0 Welcome")
	}
}

func (s *session) mail(rest string) {
	path, ok := cutFold(rest, "FROM:")
	from, p, err := parsePath(path)
	switch {
	case !s.greeted:
		s.wrong(503, "5.5.1 EHLO first")
	case !s.trusted && !s.user:
		s.wrong(530, "5.7.0 This address may not submit without login: log in, show a certificate, or add it to intake.smtp.allow")
	case s.started:
		s.wrong(503, "5.5.1 One message at a time; RSET starts over")
	case !ok || err != nil:
		s.wrong(501, "5.5.4 MAIL FROM:<address> [parameters]"+because(err))
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

// begin opens a transaction if the sender is one of ours.
func (s *session) begin(from string, p parameters) {
	env := mail.Envelope{From: from}
	if code, text := s.mailParameters(&env, p); code != 0 {
		s.reply(code, text)
		return
	}
	if !isASCII(from) && !env.UTF8 {
		s.reply(550, "5.6.7 This sender needs SMTPUTF8")
		return
	}
	mailbox, code, text := s.server.sender(from)
	if code != 0 {
		s.reply(code, text)
		return
	}
	s.started, s.mailbox, s.envelope = true, mailbox, env
	s.reply(250, "2.1.0 Sender is ours")
}

// sender picks the mailbox; code is 0 if there is one.
func (s *Server) sender(from string) (mailbox string, code int, text string) {
	if from == "" && s.config.NullSender == "" {
		return "", 550, "5.7.1 Mail without a sender is not taken here: name a mailbox in MAIL FROM"
	}
	if from == "" {
		from = s.config.NullSender
	}
	mailbox, known := s.senders.Find(from)
	switch {
	case !known:
		return "", 451, "4.3.0 The mailboxes are not known yet: the broker has not answered"
	case mailbox == "":
		return "", 550, "5.7.1 No mailbox here sends as this address: configure it at the broker with an smtp-client section, or as a sender alias, and allow this worker in the policy"
	}
	return mailbox, 0, ""
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
		s.wrong(501, "5.5.4 RCPT TO:<address> [parameters]"+because(err))
	case !isASCII(to) && !s.envelope.UTF8:
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
	case !isNotify(to.Notify):
		s.reply(501, "5.5.4 NOTIFY is NEVER, or some of SUCCESS, FAILURE, DELAY")
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

// isNotify is RFC 3461 section 4.1.
func isNotify(s string) bool {
	if s == "" || s == "NEVER" {
		return true
	}
	for _, word := range strings.Split(s, ",") {
		if word != "SUCCESS" && word != "FAILURE" && word != "DELAY" {
			return false
		}
	}
	return true
}

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
