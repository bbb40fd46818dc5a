package pop3d

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"time"
)

// Limits of lines, in octets: RFC 2449 section 4 for commands, RFC 5034 section 4 for responses. Where AUTH may carry a
// token, its line may be as long as that.
const (
	maxCommand  = 255
	maxResponse = 64 << 10
)

// silence is how long a client may say nothing: RFC 1939 section 3 wants at least ten minutes.
const silence = 10 * time.Minute

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
func (s *session) say(line string) { s.write("", []byte(line+"\r\n")) }

// lines answers with several: RFC 1939 section 3.
func (s *session) lines(first string, all ...string) {
	var b bytes.Buffer
	for _, line := range all {
		b.WriteString(line + "\r\n")
	}
	b.WriteString(".\r\n")
	s.write(first+"\r\n", b.Bytes())
}

// body answers with a message, dots stuffed; false: the client did not get all of it.
func (s *session) body(raw []byte, first string) bool {
	var b bytes.Buffer
	for line := range bytes.SplitAfterSeq(raw, []byte("\r\n")) {
		if len(line) > 0 && line[0] == '.' {
			b.WriteByte('.')
		}
		b.Write(line)
	}
	b.WriteString(".\r\n")
	s.write(first+"\r\n", b.Bytes())
	return !s.gone
}

// write sends an answer, unless a fault loses it or cuts it so many bytes behind its beginning.
func (s *session) write(beginning string, rest []byte) {
	if s.gone {
		return
	}
	if s.lose {
		s.reset()
		return
	}
	if s.cutAfter != nil {
		rest, s.gone = rest[:min(*s.cutAfter, max(len(rest)-3, 0))], true
	}
	if _, err := s.net().Write(append([]byte(beginning), rest...)); err != nil {
		s.gone = true
	}
}
