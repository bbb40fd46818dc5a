package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestManyWritersWholeLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range 20 {
		wg.Go(func() {
			for i := range 50 {
				if err := l.Write(Entry{Time: time.Now(), Request: fmt.Sprintf("%d-%d", g, i), Decision: Allow}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := l.Write(Entry{}); err == nil {
		t.Fatal("a closed audit takes entries")
	}
	seen := requests(t, path)
	if len(seen) != 1000 {
		t.Fatalf("%d lines", len(seen))
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v, %v", info.Mode(), err)
	}
}

func requests(t *testing.T, path string) map[string]bool {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		var e Entry
		if err := json.Unmarshal(s.Bytes(), &e); err != nil {
			t.Fatalf("%v in %s", err, s.Text())
		}
		seen[e.Request] = true
	}
	return seen
}

func TestReopen(t *testing.T) {
	dir := t.TempDir()
	path, rotated := filepath.Join(dir, "audit.jsonl"), filepath.Join(dir, "audit.1")
	l, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	steps := []func() error{
		func() error { return l.Write(Entry{Request: "one"}) },
		func() error { return os.Rename(path, rotated) },
		func() error { return l.Write(Entry{Request: "two"}) },
		l.Reopen,
		func() error { return l.Write(Entry{Request: "three"}) },
	}
	for i, step := range steps {
		if err := step(); err != nil {
			t.Fatal(i, err)
		}
	}
	if old, fresh := requests(t, rotated), requests(t, path); !old["one"] || !old["two"] || len(old) != 2 || !fresh["three"] || len(fresh) != 1 {
		t.Fatalf("old %v, new %v", old, fresh)
	}
	if err := To(&bytes.Buffer{}).Reopen(); err != nil {
		t.Fatal(err)
	}
}

// full takes some bytes and then none, until it is emptied.
type full struct {
	bytes.Buffer
	room int
}

var errFull = errors.New("no space left on device")

func (f *full) Write(p []byte) (int, error) {
	n := min(f.room, len(p))
	f.room -= n
	f.Buffer.Write(p[:n])
	if n < len(p) {
		return n, errFull
	}
	return n, nil
}

func TestFullDiskIsToldAndTornLinesEnd(t *testing.T) {
	disk := &full{room: 10}
	l := To(disk)
	if err := l.Write(Entry{Request: "lost"}); !errors.Is(err, errFull) {
		t.Fatalf("a line that was not written: %v", err)
	}
	disk.room = 1 << 20
	if err := l.Write(Entry{Request: "kept"}); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(disk.String()), "\n")
	var e Entry
	if len(lines) != 2 || json.Unmarshal([]byte(lines[1]), &e) != nil || e.Request != "kept" {
		t.Fatalf("lines: %q", lines)
	}
}

func TestOpenFails(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "none", "audit")); err == nil {
		t.Fatal("opened in a folder that is not there")
	}
}
