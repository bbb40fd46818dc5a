package lmtp

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is an LMTP server that keeps what it takes in memory. reply may answer a command in its place: an empty answer
// cuts the connection.
type server struct {
	address    string
	extensions []string
	tls        *tls.Config
	reply      func(command string) (answer string, instead bool)

	mu       sync.Mutex
	kept     []string
	dialled  int
	envelope []string
	running  sync.WaitGroup
}

const everything = "8BITMIME CHUNKING BINARYMIME ENHANCEDSTATUSCODES PIPELINING"

func startServer(t *testing.T, unix bool, extensions string) *server {
	t.Helper()
	s := &server{extensions: strings.Fields(extensions)}
	network, address := "tcp", "127.0.0.1:0"
	if unix {
		network, address = "unix", filepath.Join(t.TempDir(), "lmtp")
	}
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	s.address = l.Addr().String()
	if unix {
		s.address = unixPrefix + address
	}
	s.running.Go(func() { s.accept(l) })
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		s.running.Wait()
	})
	return s
}

func (s *server) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		s.dialled++
		s.mu.Unlock()
		s.running.Go(func() {
			defer c.Close()
			(&session{server: s, conn: c, r: bufio.NewReader(c)}).run()
		})
	}
}

func (s *server) messages() (all [][]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.kept {
		all = append(all, []byte(m))
	}
	return all
}

type session struct {
	*server
	conn    net.Conn
	r       *bufio.Reader
	chunked strings.Builder
}

func (s *session) say(lines ...string) bool {
	_, err := io.WriteString(s.conn, strings.Join(lines, "\r\n")+"\r\n")
	return err == nil
}

func (s *session) run() {
	if !s.say("220 lmtp.example LMTP") {
		return
	}
	for {
		line, err := s.r.ReadString('\n')
		if err != nil || !s.obey(strings.TrimSpace(line)) {
			return
		}
	}
}

// obey answers one command; false ends the session.
func (s *session) obey(command string) bool {
	verb, rest, _ := strings.Cut(command, " ")
	if verb == "BDAT" && !s.readChunk(rest) {
		return false
	}
	if s.reply != nil {
		if answer, instead := s.reply(command); instead {
			return answer != "" && s.say(answer)
		}
	}
	switch verb {
	case "LHLO":
		return s.say(s.greeting()...)
	case "STARTTLS":
		return s.startTLS()
	case "MAIL", "RCPT":
		s.mu.Lock()
		defer s.mu.Unlock()
		s.envelope = append(s.envelope, command)
		return s.say("250 2.1.0 fine")
	case "RSET":
		s.chunked.Reset()
		return s.say("250 2.0.0 forgotten")
	case "BDAT":
		return s.endChunk(rest)
	case "DATA":
		return s.data()
	case "QUIT":
		s.say("221 2.0.0 bye")
		return false
	}
	return s.say("500 5.5.2 what")
}

func (s *session) greeting() []string {
	all := []string{"250-lmtp.example"}
	for _, e := range s.extensions {
		all = append(all, "250-"+e)
	}
	return append(all, "250 ENHANCEDSTATUSCODES")
}

func (s *session) startTLS() bool {
	if !s.say("220 2.0.0 go") {
		return false
	}
	secured := tls.Server(s.conn, s.tls)
	s.conn, s.r = secured, bufio.NewReader(secured)
	return true
}

func (s *session) readChunk(rest string) bool {
	var n int64
	if _, err := fmt.Sscan(rest, &n); err != nil {
		return false
	}
	_, err := io.CopyN(&s.chunked, s.r, n)
	return err == nil
}

func (s *session) endChunk(rest string) bool {
	if strings.HasSuffix(rest, " LAST") {
		s.keep(s.chunked.String())
		s.chunked.Reset()
	}
	return s.say("250 2.0.0 taken")
}

func (s *session) keep(message string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = append(s.kept, message)
}

func (s *session) data() bool {
	if !s.say("354 go on") {
		return false
	}
	var b strings.Builder
	for {
		line, err := s.r.ReadString('\n')
		switch {
		case err != nil:
			return false
		case line == ".\r\n":
			return s.end(b.String())
		}
		b.WriteString(strings.TrimPrefix(line, "."))
	}
}

func (s *session) end(message string) bool {
	if s.reply != nil {
		if answer, instead := s.reply("."); instead {
			if answer == "" {
				s.keep(message)
			}
			return answer != "" && s.say(answer)
		}
	}
	s.keep(message)
	return s.say("250 2.0.0 taken")
}
