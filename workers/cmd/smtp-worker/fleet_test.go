package main

import (
	"fmt"
	"net/smtp"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"mailporter/kit/redistest"
	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/program/programtest"
)

// TestAFleetKeepsTheConnections: three workers share a mailbox that may have three connections, and the server refuses the
// fourth. It never has to, though each worker takes mail in and all of them send it.
func TestAFleetKeepsTheConnections(t *testing.T) {
	const workers, each = 3, 20
	w := newWorld(t)
	set := settings(t, w.sandbox)[:1]
	set[0].Outbound.Limits = []tokenclient.Limit{{Unit: tokenclient.Messages, Most: 1_000_000, Window: time.Minute}}
	w.broker.SetMailboxes(set...)
	file, err := os.ReadFile(filepath.Join(w.dir, "worker.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	redis := redistest.Start(t).URL()
	var log programtest.Log
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(log.String())
		}
	})
	var doors []string
	for n := range workers {
		dir, door, admin := t.TempDir(), programtest.FreeAddress(t), programtest.FreeAddress(t)
		text := strings.NewReplacer("file:state", redis, w.intake, door, w.admin, admin).Replace(string(file))
		for name, content := range map[string][]byte{"worker.yaml": []byte(text), "ca.pem": w.sandbox.CAPEM()} {
			if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		stop := programtest.Start(t, worker.App(), dir, &log)
		t.Cleanup(stop)
		programtest.WaitFor(t, fmt.Sprintf("worker %d", n), func() bool { return programtest.Page(admin, "/readyz") != "" })
		doors = append(doors, door)
	}
	var clients sync.WaitGroup
	for n, door := range doors {
		clients.Go(func() {
			for i := range each {
				if err := smtp.SendMail(door, nil, mailboxes[0], []string{inbox}, letter(3*(n*each+i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	clients.Wait()
	programtest.WaitFor(t, "the last message", func() bool { return len(w.arrived(t)) == workers*each })
	for _, n := range w.arrived(t) {
		if n != 1 {
			t.Errorf("a message arrived %d times", n)
		}
	}
	if s := w.sandbox.Stats().SMTP; s.Refused > 0 || s.Peak[mailboxes[0]] > 3 {
		t.Errorf("%d connections at a time, %d refused", s.Peak[mailboxes[0]], s.Refused)
	}
}
