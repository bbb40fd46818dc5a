package pop3_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/kit/tokenclient/brokertest"
	"mailporter/workers/internal/pop3"
)

// fake is a POP3 server in this process, over one maildrop: RFC 1939, with its lock.
type fake struct {
	caps   string // of CAPA, without the first line
	broker *brokertest.Broker
	port   int

	mu       sync.Mutex
	messages []stored
	last     int // UIDL given last
	inside   bool
	refuse   int // credentials still to be refused; negative = all
	loseQUIT int // answers to QUIT still to be lost
	tokens   []string
}

type stored struct {
	uidl string
	raw  []byte
}

const pipelining = "USER\r\nUIDL\r\nSASL XOAUTH2\r\nPIPELINING\r\n"

// newFake starts a server; it ends with the test.
func newFake(t *testing.T, caps string) *fake {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{caps: caps, broker: brokertest.New(t), port: l.Addr().(*net.TCPAddr).Port}
	f.broker.OnMint(func(tokenclient.Ask) (string, time.Time, error) { return f.mint(), time.Now().Add(time.Hour), nil })
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { f.serve(c) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); running.Wait() })
	return f
}

func (f *fake) mint() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tokens = append(f.tokens, fmt.Sprintf("token-marker-%d", len(f.tokens)))
	return f.tokens[len(f.tokens)-1]
}

func (f *fake) settings() tokenclient.Settings {
	return tokenclient.Settings{
		Mailbox: support, Direction: tokenclient.Inbound, Protocol: tokenclient.POP3, Margin: time.Second,
		Endpoint: tokenclient.Endpoint{Server: "127.0.0.1", Port: f.port, Security: tokenclient.PlainText, User: support, Mechanism: tokenclient.XOAUTH2,
			TwoLine: true, ConnectTimeout: 20 * time.Second, ProtocolTimeout: 20 * time.Second},
		Inbound: tokenclient.InboundSettings{Folders: []string{"INBOX"}, CycleTime: time.Minute, After: tokenclient.Keep},
	}
}

func (f *fake) source(t *testing.T, s tokenclient.Settings) *pop3.Source {
	t.Helper()
	f.broker.SetMailboxes(s)
	src, err := pop3.New(pop3.Config{Settings: s, Folder: "INBOX", Broker: f.broker.Client(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	})
	return src
}

func (f *fake) deliver(_ *testing.T, raw []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last++
	f.messages = append(f.messages, stored{fmt.Sprintf("u%08d", f.last), raw})
}

func (f *fake) remove(t *testing.T, raw []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.messages, func(m stored) bool { return bytes.Equal(m.raw, raw) })
	if i < 0 {
		t.Fatal("no such message to remove")
	}
	f.messages = slices.Delete(f.messages, i, i+1)
}

func (f *fake) holds(*testing.T) (all [][]byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.messages {
		all = append(all, m.raw)
	}
	return all
}

func (f *fake) secrets() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.tokens)
}

// fakeSession is one connection.
type fakeSession struct {
	*fake
	in      *bufio.Reader
	out     *bufio.Writer
	inside  bool
	drop    []stored // as it was at the login
	deleted map[int]bool
}

func (f *fake) serve(c net.Conn) {
	defer c.Close()
	s := &fakeSession{fake: f, in: bufio.NewReader(c), out: bufio.NewWriter(c), deleted: map[int]bool{}}
	defer s.leave()
	s.say("+OK ready")
	for {
		if s.in.Buffered() == 0 && s.out.Flush() != nil {
			return
		}
		line, err := s.in.ReadString('\n')
		if err != nil {
			return
		}
		command, arg, _ := strings.Cut(strings.TrimRight(line, "\r\n"), " ")
		if !s.obey(command, arg) {
			return
		}
	}
}

func (s *fakeSession) say(format string, args ...any) {
	_, _ = fmt.Fprintf(s.out, format+"\r\n", args...)
}

// obey answers one command; false: the session is over.
func (s *fakeSession) obey(command, arg string) bool {
	switch {
	case command == "CAPA":
		s.say("+OK\r\n%s.", s.caps)
	case command == "AUTH":
		s.auth(arg)
	case command == "QUIT":
		return s.quit()
	case !s.inside:
		s.say("-ERR log in first")
	case command == "UIDL":
		s.list(func(m stored) string { return m.uidl })
	case command == "LIST" && arg == "":
		s.list(func(m stored) string { return strconv.Itoa(len(m.raw)) })
	default:
		s.about(command, arg)
	}
	return true
}

// auth takes XOAUTH2 with the token that was minted last.
func (s *fakeSession) auth(arg string) {
	_, answer, one := strings.Cut(arg, " ")
	if !one {
		s.say("+ ")
		_ = s.out.Flush()
		line, _ := s.in.ReadString('\n')
		answer = strings.TrimRight(line, "\r\n")
	}
	decoded, _ := base64.StdEncoding.DecodeString(answer)
	s.mu.Lock()
	defer s.mu.Unlock()
	good := len(s.tokens) > 0 && string(decoded) == "user="+support+"\x01auth=Bearer "+s.tokens[len(s.tokens)-1]+"\x01\x01"
	switch {
	case s.refuse != 0 || !good:
		s.refuse = max(s.refuse-1, min(s.refuse, 0))
		s.say("-ERR [AUTH] no")
	case s.fake.inside:
		s.say("-ERR [IN-USE] locked")
	default:
		s.fake.inside, s.inside, s.drop = true, true, slices.Clone(s.messages)
		s.say("+OK welcome")
	}
}

func (s *fakeSession) list(what func(stored) string) {
	s.say("+OK")
	for i, m := range s.drop {
		if !s.deleted[i] {
			s.say("%d %s", i+1, what(m))
		}
	}
	s.say(".")
}

// about answers LIST, RETR and DELE of one message.
func (s *fakeSession) about(command, arg string) {
	n, err := strconv.Atoi(arg)
	if err != nil || n < 1 || n > len(s.drop) || s.deleted[n-1] {
		s.say("-ERR no such message")
		return
	}
	switch command {
	case "LIST":
		s.say("+OK %d %d", n, len(s.drop[n-1].raw))
	case "DELE":
		s.deleted[n-1] = true
		s.say("+OK")
	case "RETR":
		s.say("+OK")
		raw := string(withLineEnd(s.drop[n-1].raw))
		if strings.HasPrefix(raw, ".") {
			raw = "." + raw
		}
		_, _ = s.out.WriteString(strings.ReplaceAll(raw, "\r\n.", "\r\n.."))
		s.say(".")
	default:
		s.say("-ERR unknown command")
	}
}

// quit deletes; false always.
func (s *fakeSession) quit() bool {
	s.mu.Lock()
	for i, m := range s.drop {
		if s.deleted[i] {
			s.messages = slices.DeleteFunc(s.messages, func(o stored) bool { return o.uidl == m.uidl })
		}
	}
	lost := s.loseQUIT > 0 && s.inside
	if lost {
		s.loseQUIT--
	}
	s.mu.Unlock()
	s.leave()
	if !lost {
		s.say("+OK bye")
		_ = s.out.Flush()
	}
	return false
}

// leave gives the lock back.
func (s *fakeSession) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inside {
		s.fake.inside, s.inside = false, false
	}
}
