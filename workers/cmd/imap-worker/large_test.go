package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailporter/kit/tokenclient"
	"mailporter/kit/tokenclient/brokertest"
	"mailporter/workers/internal/program/programtest"
)

const (
	head  = "Message-ID: <large@test.example>\r\n\r\n"
	line  = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n"
	lines = 200 << 20 / len(line)
)

// large is a message of 200 MB that is nowhere as a whole.
func large() io.Reader {
	return io.MultiReader(strings.NewReader(head), io.LimitReader(&endless{}, int64(lines*len(line))))
}

// endless repeats line.
type endless struct{ at int }

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, line[e.at:])
	e.at = (e.at + n) % len(line)
	return n, nil
}

// giver is an IMAP server with an inbox of one message.
type giver struct{ given atomic.Int64 } // bytes of it

// Write counts.
func (g *giver) Write(p []byte) (int, error) {
	g.given.Add(int64(len(p)))
	return len(p), nil
}

func (g *giver) serve(c net.Conn) {
	defer c.Close()
	size := len(head) + lines*len(line)
	out := bufio.NewWriterSize(c, 64<<10)
	answers := []struct{ command, before, after string }{
		{"CAPABILITY", "* CAPABILITY IMAP4rev1 UIDPLUS\r\n", ""},
		{"SELECT", "* 1 EXISTS\r\n* OK [UIDVALIDITY 3] x\r\n* OK [UIDNEXT 8] x\r\n", ""},
		{"UID SEARCH UID 1", "* SEARCH 7\r\n", ""},
		{"UID FETCH 7 (UID BODY.PEEK[])", fmt.Sprintf("* 1 FETCH (UID 7 BODY[] {%d}\r\n", size), ")\r\n"},
		{"UID FETCH 7 (UID", fmt.Sprintf(`* 1 FETCH (UID 7 INTERNALDATE "01-Mar-2026 12:00:00 +0000" RFC822.SIZE %d BODY[HEADER.FIELDS ("Message-ID")] {%d}`+"\r\n%s", size, len(head), head), ")\r\n"},
	}
	_, _ = out.WriteString("* OK [CAPABILITY IMAP4rev1 UIDPLUS] ready\r\n")
	for in := bufio.NewScanner(c); out.Flush() == nil && in.Scan(); {
		tag, command, _ := strings.Cut(in.Text(), " ")
		for _, a := range answers {
			if !strings.HasPrefix(command, a.command) {
				continue
			}
			_, _ = out.WriteString(a.before)
			if a.command == "UID FETCH 7 (UID BODY.PEEK[])" {
				_, _ = io.Copy(out, io.TeeReader(large(), g))
			}
			_, _ = out.WriteString(a.after)
			break
		}
		_, _ = fmt.Fprintf(out, "%s OK done\r\n", tag)
	}
}

// TestALargeMessageIsNeverHeld: 200 MB come through, and all that was allocated for it would not hold them.
func TestALargeMessageIsNeverHeld(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("", func(t *testing.T) { // its cleanups end before the leak check
		var server giver
		broker := brokertest.New(t)
		broker.OnMint(func(tokenclient.Ask) (string, time.Time, error) { return "password", time.Time{}, nil })
		broker.SetMailboxes(tokenclient.Settings{
			Mailbox: "support@contoso.example", Direction: tokenclient.Inbound, Protocol: tokenclient.IMAP, Version: "1",
			Endpoint: tokenclient.Endpoint{Server: "127.0.0.1", Port: listen(t, server.serve), Security: tokenclient.PlainText, User: "support",
				Mechanism: tokenclient.Basic, ConnectTimeout: time.Minute, ProtocolTimeout: time.Hour},
			Inbound: tokenclient.InboundSettings{Folders: []string{"INBOX"}, CycleTime: time.Hour, After: tokenclient.Delete, Junk: tokenclient.JunkIgnore},
		})
		dir := t.TempDir()
		text := fmt.Sprintf("broker: {address: %q, insecure: true}\nstate: file:state\nsinks: {default: {maildir: mail}}\nadmin: %q\n",
			broker.Listen(t, nil), programtest.FreeAddress(t))
		if err := os.WriteFile(filepath.Join(dir, "worker.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var log programtest.Log
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		stop := sync.OnceFunc(programtest.Start(t, worker.App(), dir, &log))
		defer stop()
		for part := range 20 { // a slow machine has a minute for each
			programtest.WaitFor(t, "10 MB more", func() bool { return server.given.Load() >= int64(part)*10<<20 })
		}
		var arrived []string
		programtest.WaitFor(t, "the message", func() bool {
			arrived, _ = filepath.Glob(filepath.Join(dir, "mail", "new", "*"))
			return len(arrived) > 0
		})
		runtime.ReadMemStats(&after)
		stop()
		mustBeLarge(t, arrived[0])
		got := after.TotalAlloc - before.TotalAlloc
		t.Logf("%d MiB were allocated for a message of %d", got>>20, lines*len(line)>>20)
		if got > 64<<20 {
			t.Errorf("%d MiB were allocated", got>>20)
		}
	})
}

// listen serves connections until the test ends.
func listen(t *testing.T, serve func(net.Conn)) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serve(c) // the worker has one
		}
	}()
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		<-ended
	})
	return l.Addr().(*net.TCPAddr).Port
}

func mustBeLarge(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if !bytes.Equal(digest(t, f), digest(t, large())) {
		t.Error("it is not the message that was sent")
	}
}

func digest(t *testing.T, r io.Reader) []byte {
	t.Helper()
	h := sha256.New()
	if _, err := io.Copy(h, r); err != nil {
		t.Fatal(err)
	}
	return h.Sum(nil)
}
