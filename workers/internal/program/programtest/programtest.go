// Package programtest tries whole workers: it starts them as main does and watches them from outside.
package programtest

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"mailporter/kit/daemon"
	"mailporter/workers/internal/setup"
)

// Start runs a worker with the file worker.yaml of dir, and everything it says goes to log. stop ends it as SIGTERM does
// and fails the test if it ended badly.
func Start(t *testing.T, app daemon.App[setup.Config], dir string, log io.Writer) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	code := make(chan int, 1)
	go func() {
		code <- app.Execute(ctx, []string{"-config", filepath.Join(dir, "worker.yaml")}, io.Discard, log)
	}()
	return func() {
		cancel()
		if got := <-code; got != 0 {
			t.Errorf("the worker ended with %d", got)
		}
	}
}

// FreeAddress is a loopback address that nobody listens at.
func FreeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}

// patience is how long anything may take that must come in the end, on a machine that has other things to do.
const patience = time.Minute

// WaitFor waits until something is so.
func WaitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	if !eventually(is) {
		t.Fatalf("%s never came", what)
	}
}

func eventually(is func() bool) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(patience)
	for !is() {
		select {
		case <-tick.C:
		case <-late:
			return false
		}
	}
	return true
}

// Page is a page of the admin listener at address; empty unless it answers 200.
func Page(address, path string) string {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get("http://" + address + path)
	if err != nil {
		return ""
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return ""
	}
	return string(b)
}

// Log may be written and read side by side.
type Log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

// Write never fails.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// String is what was written so far.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
