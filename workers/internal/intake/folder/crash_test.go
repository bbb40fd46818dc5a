package folder

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailporter/workers/internal/state/file"
)

// childDir names the folder that a child serves until it kills itself.
const childDir = "MAILPORTER_TEST_DROP_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		child(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

// child takes two messages and dies by kill -9 when the outbox has the third: its file is still there, and whoever else was just
// being taken is somewhere on the way.
func child(dir string) {
	s, err := file.Open(filepath.Join(dir, "state"))
	if err != nil {
		fmt.Println(err)
		return
	}
	var taken atomic.Int32
	box := &flaky{Outbox: s.Outbox(), after: func() {
		if taken.Add(1) == 3 {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			time.Sleep(time.Hour)
		}
	}}
	d := New(Config{Path: filepath.Join(dir, "drop")}, box, known())
	for {
		if err := d.round(context.Background()); err != nil {
			fmt.Println(err)
			return
		}
	}
}

// TestKilled: each file is one message, however often the worker dies between the outbox's yes and the file's removal.
func TestKilled(t *testing.T) {
	const n = 60
	dir := t.TempDir()
	p := newPlace(t, Config{Path: filepath.Join(dir, "drop")}, nil)
	for i := range n {
		p.drop(fmt.Sprintf("%d.eml", i), explicit+fmt.Sprintf("Subject: %d\r\n\r\n", i))
	}
	for range 10 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		out, err := cmd.Output()
		if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
			t.Fatalf("%v, %s", err, out)
		}
	}
	s, err := file.Open(filepath.Join(dir, "state"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p.door.outbox = s.Outbox()
	p.look()
	got := map[string]int{}
	for _, j := range jobs(t, s.Outbox()) {
		got[body(t, s.Outbox(), j)]++
	}
	for i := range n {
		if message := fmt.Sprintf("Subject: %d\r\n\r\n", i); got[message] != 1 {
			t.Errorf("message %d is there %d times", i, got[message])
		}
	}
	if left := p.left(""); len(left) != 0 || len(got) != n {
		t.Errorf("%d messages, %d files left", len(got), len(left))
	}
}
