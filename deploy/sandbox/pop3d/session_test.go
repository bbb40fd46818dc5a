package pop3d

import (
	"bytes"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailporter/sandbox/fault"
	"mailporter/sandbox/idp"
	"mailporter/sandbox/mailstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestAnswers: bytes as they go over the wire.
func TestAnswers(t *testing.T) {
	const in = "+OK Gpop ready for requests\r\n+OK\r\n+OK User successfully logged on.\r\n"
	for name, tc := range map[string]struct{ commands, want string }{
		"dots are stuffed":          {"RETR 1", "+OK 17 octets\r\nSubject: 1\r\n\r\n..\r\n.\r\n"},
		"the last line is ended":    {"RETR 2", "+OK 8 octets\r\nno end\r\n.\r\n"},
		"sizes are those of RETR":   {"LIST", "+OK 2 25\r\n1 17\r\n2 8\r\n.\r\n"},
		"numbers stay":              {"DELE 1\r\nLIST", "+OK\r\n+OK 1 8\r\n2 8\r\n.\r\n"},
		"RSET takes deletions back": {"DELE 1\r\nRSET\r\nSTAT", "+OK\r\n+OK\r\n+OK 2 25\r\n"},
		"a second login":            {"USER x", "-ERR Command is not valid in this state.\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := talk(gmail(t), login+tc.commands+"\r\n"); got != in+tc.want {
				t.Errorf("got %q, want %q", got, in+tc.want)
			}
		})
	}
}

// TestCut: any answer can be cut, and is never whole then.
func TestCut(t *testing.T) {
	for name, tc := range map[string]struct {
		step, command, want string
		bytes               int
	}{
		"in a listing":       {"uidl", "UIDL", "+OK 2 25\r\n1", 1},
		"behind a listing":   {"list", "LIST", "+OK 2 25\r\n1 17\r\n2 8\r\n", 99},
		"in a message":       {"retr", "RETR 1", "+OK 17 octets\r\nSub", 3},
		"in one line":        {"stat", "STAT", "+OK 2", 5},
		"before the goodbye": {"quit", "QUIT", "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := gmail(t)
			s.config.Faults.Add(fault.Rule{Target: fault.POP3, Step: tc.step, Action: fault.Cut, Bytes: tc.bytes})
			_, got, _ := strings.Cut(talk(s, login+tc.command+"\r\nNOOP\r\n"), "logged on.\r\n")
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestTop(t *testing.T) {
	const message = "A: 1\r\nB: 2\r\n\r\nx\r\n\r\ny\r\n"
	for name, tc := range map[string]struct {
		raw   string
		lines int
		want  string
	}{
		"header alone is asked for": {message, 0, "A: 1\r\nB: 2\r\n\r\n"},
		"one line":                  {message, 1, "A: 1\r\nB: 2\r\n\r\nx\r\n"},
		"a blank line counts":       {message, 2, "A: 1\r\nB: 2\r\n\r\nx\r\n\r\n"},
		"more than there are":       {message, 99, message},
		"no blank line":             {"A: 1\r\n", 5, "A: 1\r\n"},
		"no body":                   {"A: 1\r\n\r\n", 5, "A: 1\r\n\r\n"},
		"nothing":                   {"", 5, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := string(top([]byte(tc.raw), tc.lines)); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

const (
	mailbox = "box@gmail.example"
	login   = "USER " + mailbox + "\r\nPASS word\r\n"
)

// gmail is a server with two messages in one mailbox.
func gmail(t testing.TB) *Server {
	t.Helper()
	directory, err := idp.NewDirectory(nil, idp.Google{Users: []idp.GoogleUser{{Address: mailbox, AppPassword: "word"}}})
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := idp.NewIssuer("", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	store, err := mailstore.Open("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := store.Create(mailbox, mailstore.Gmail()); err != nil {
		t.Fatal(err)
	}
	for _, raw := range []string{"Subject: 1\r\n\r\n.\r\n", "no end"} {
		if _, err := store.Deliver([]byte(raw), []mailstore.Target{{Mailbox: mailbox, Folder: mailstore.Inbox}}, nil); err != nil {
			t.Fatal(err)
		}
	}
	return New(Config{Provider: Gmail, Security: Clear, Directory: directory, Issuer: issuer, Store: store, Faults: &fault.Plan{}})
}

// script is a connection whose client says what it has to say and listens to the end.
type script struct {
	net.Conn
	in  *strings.Reader
	out bytes.Buffer
}

func (c *script) Read(b []byte) (int, error)      { return c.in.Read(b) }
func (c *script) Write(b []byte) (int, error)     { return c.out.Write(b) }
func (c *script) Close() error                    { return nil }
func (c *script) SetReadDeadline(time.Time) error { return nil }

// talk is what the server answers to all that was sent.
func talk(s *Server, sent string) string {
	c := &script{in: strings.NewReader(sent)}
	newSession(s, c).run()
	return c.out.String()
}

// FuzzSession: whatever a client says, it is answered in whole lines, loses nothing without QUIT and leaves the lock behind.
func FuzzSession(f *testing.F) {
	for _, commands := range []string{
		"STAT\r\nLIST\r\nUIDL 1\r\nRETR 1\r\nRETR 2\r\nTOP 1 9\r\nNOOP\r\nDELE 1\r\nRSET\r\nDELE 2\r\n",
		"AUTH XOAUTH2 =\r\n\r\nAUTH\r\nAUTH PLAIN\r\n*\r\nCAPA\r\nSTLS\r\n",
		"TOP 1 99999999999999999999\r\nTOP 1 -1\r\nRETR 0\r\nRETR -1\r\nDELE\r\nLIST 1 2\r\n",
		"\r\n \r\n\x00\xff\r\n" + strings.Repeat("x", 400) + "\r\nnoop\n",
	} {
		f.Add(commands)
	}
	f.Fuzz(func(t *testing.T, commands string) {
		if strings.Contains(strings.ToLower(commands), "quit") {
			return
		}
		s := gmail(t)
		for _, sent := range []string{commands, login + commands} {
			if got := talk(s, sent+"\r\nQUI"); !strings.HasPrefix(got, "+OK") || !strings.HasSuffix(got, "\r\n") {
				t.Errorf("sent %q, got %q", sent, got)
			}
		}
		folder, err := s.config.Store.Folder(mailbox, mailstore.Inbox)
		if err != nil || len(folder.Messages) != 2 || len(s.locked) != 0 {
			t.Errorf("sent %q: %d messages are left, locked %v; %v", commands, len(folder.Messages), s.locked, err)
		}
	})
}
