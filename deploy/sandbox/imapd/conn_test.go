package imapd

import (
	"io"
	"net"
	"strings"
	"testing"

	"github.com/emersion/go-imap/v2"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestLiteralSize(t *testing.T) {
	for line, want := range map[string]int64{
		"a APPEND x {10}\r\n": 10, "a APPEND x {10+}\r\n": 10, "a LOGIN {3} {0}\n": 0, "a NOOP\r\n": 0, "{}\r\n": 0, "}\r\n": 0,
		"a {-1}\r\n": 0, "a {99999999999}\r\n": 0, `a LOGIN "{3}" b` + "\r\n": 0, "": 0,
	} {
		if got := literalSize([]byte(line)); got != want {
			t.Errorf("%q: %d, want %d", line, got, want)
		}
	}
}

func TestStatusError(t *testing.T) {
	for in, want := range map[string]imap.Error{
		"NO [LIMIT] slow down": {Type: "NO", Code: "LIMIT", Text: "slow down"},
		"BAD Server Busy":      {Type: "BAD", Text: "Server Busy"},
		"Server Busy":          {Type: "NO", Text: "Server Busy"},
		"NO [half":             {Type: "NO", Text: "[half"},
		"NO":                   {Type: "NO", Text: "NO"},
	} {
		if got := statusError(in); *got != want {
			t.Errorf("%q: %+v", in, *got)
		}
	}
}

// FuzzRead: whatever a client sends, behind login all of it but ID comes through unaltered, and nothing panics.
func FuzzRead(f *testing.F) {
	f.Add("a NOOP\r\nb APPEND x {4}\r\nc ID\r\nd NOOP\r\n")
	f.Add("a SELECT " + strings.Repeat("x", 3*maxLine) + "\r\nb NOOP\r\n")
	f.Fuzz(func(t *testing.T, sent string) {
		if strings.Contains(strings.ToUpper(sent), "ID") {
			return
		}
		client, server := net.Pipe()
		c := newConn(server, &exchange, nil)
		c.out.loggedIn = true
		go func() {
			_, _ = io.WriteString(client, sent)
			_ = client.Close()
		}()
		got, err := io.ReadAll(c)
		if cut := strings.LastIndexByte(sent, '\n') + 1; err != nil || !strings.HasPrefix(sent, string(got)) || len(got) < min(cut, len(sent)) {
			t.Errorf("sent %q, got %q, %v", sent, got, err)
		}
		_ = c.Close()
	})
}
