package main

import (
	"bufio"
	"bytes"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server takes mail, and refuses the recipient it is told to. It returns its address and counts what it took.
func server(t *testing.T, refuses string) (address string, took *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	took = new(atomic.Int64)
	var sessions sync.WaitGroup
	sessions.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			sessions.Go(func() { serve(c, refuses, took) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		sessions.Wait()
	})
	return l.Addr().String(), took
}

func serve(c net.Conn, refuses string, took *atomic.Int64) {
	defer c.Close()
	say := func(line string) { _, _ = c.Write([]byte(line + "\r\n")) }
	say("220 localhost")
	lines := bufio.NewScanner(c)
	for inData := false; lines.Scan(); {
		switch line := lines.Text(); {
		case inData && line == ".":
			inData = false
			took.Add(1)
			say("250 2.0.0 taken")
		case inData:
		case line == "DATA":
			inData = true
			say("354 go on")
		case line == "QUIT":
			say("221 bye")
			return
		case refuses != "" && strings.Contains(line, refuses):
			say("550 5.1.1 no such user")
		default:
			say("250 ok")
		}
	}
}

func message(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "message")
	if err := os.WriteFile(path, []byte("Subject: x\r\n\r\n.dot\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSendsAll(t *testing.T) {
	address, took := server(t, "")
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"-server", address, "-from", "a@x.example", "-to", "b@y.example", "-message", message(t), "-messages", "100", "-connections", "4"}, &out, &errs)
	if code != 0 || took.Load() != 100 || strings.TrimSpace(out.String()) == "" {
		t.Errorf("exit %d, %d messages, %q, %s", code, took.Load(), out.String(), errs.String())
	}
}

func TestSaysWhatIsWrong(t *testing.T) {
	address, _ := server(t, "nobody@")
	for name, c := range map[string]struct {
		args []string
		code int
		says string
	}{
		"a refused recipient": {[]string{"-server", address, "-from", "a@x.example", "-to", "nobody@y.example", "-message", message(t), "-messages", "9"}, 1, "550 5.1.1"},
		"no message":          {[]string{"-server", address, "-message", "/nowhere"}, 1, "/nowhere"},
		"no server":           {[]string{"-message", message(t)}, 1, "missing port"},
		"usage":               {[]string{"-what"}, 2, "-what"},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errs bytes.Buffer
			if code := run(t.Context(), c.args, &out, &errs); code != c.code || !strings.Contains(errs.String(), c.says) {
				t.Errorf("exit %d, %s", code, errs.String())
			}
		})
	}
}
