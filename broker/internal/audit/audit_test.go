package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestManyWritersWholeLines(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l, err := Open(path, Written)
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
	l, err := Open(path, Written)
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
	if _, err := Open(filepath.Join(t.TempDir(), "none", "audit"), Written); err == nil {
		t.Fatal("opened in a folder that is not there")
	}
}

// whole is an entry with every field set; a new field that appendJSON does not know fails the test.
func whole() Entry {
	return Entry{Time: time.Date(2026, 1, 5, 9, 30, 0, 123456789, time.UTC), Request: "R1", Identity: "spiffe://mail.example/imap-worker", Peer: "10.0.0.7:51234",
		Method: "AcquireToken", Mailbox: "support@contoso.com", Direction: "inbound", Protocol: "IMAP", Grant: "client_credentials", Decision: Allow,
		Rule: "policy.yaml:3", TenantWide: true, Outcome: "OK", Reason: "CLIENT_SECRET_EXPIRED", Generation: 1767605400123, Fingerprint: "9f86d081884c",
		Expires: "2026-01-05T10:29:59Z", Source: "memory", Correlation: "trace-1", Latency: 0.0000234}
}

// same compares what a reader of the line gets with what encoding/json would have given it.
func same(t *testing.T, e Entry) {
	t.Helper()
	want, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	got := e.appendJSON(nil)
	var a, b map[string]any
	if err := errors.Join(json.Unmarshal(want, &a), json.Unmarshal(got, &b)); err != nil || !reflect.DeepEqual(a, b) {
		t.Errorf("%v\ngot  %s\nwant %s", err, got, want)
	}
	if bytes.ContainsAny(got, "\n\r") {
		t.Errorf("more than a line: %q", got)
	}
}

func TestLineIsTheEntry(t *testing.T) {
	for field, value := range reflect.ValueOf(whole()).Fields() {
		if value.IsZero() {
			t.Errorf("%s is not set", field.Name)
		}
	}
	hostile := whole()
	hostile.Mailbox, hostile.Identity = "a\"b\\c\n\x00<>&\u2028é\xff", "\x7f\t"
	for name, e := range map[string]Entry{"whole": whole(), "empty": {}, "hostile": hostile} {
		t.Run(name, func(t *testing.T) { same(t, e) })
	}
}

func FuzzLine(f *testing.F) {
	f.Add("support@contoso.com", "spiffe://mail.example/imap-worker", int64(5), 0.25)
	f.Add("\"}\n{\"decision\":\"allow", "\xff\x00", int64(-1), 1e-9)
	f.Fuzz(func(t *testing.T, mailbox, identity string, generation int64, latency float64) {
		if math.IsNaN(latency) || math.IsInf(latency, 0) {
			t.Skip("no latency")
		}
		e := whole()
		e.Mailbox, e.Identity, e.Generation, e.Latency = mailbox, identity, generation, latency
		same(t, e)
	})
}

// gate is a disk that writes when it is let.
type gate struct {
	bytes.Buffer
	let    chan struct{}
	asked  chan struct{}
	writes int
}

func (g *gate) Write(p []byte) (int, error) {
	g.asked <- struct{}{}
	<-g.let
	g.writes++
	return g.Buffer.Write(p)
}

// Whoever comes while the disk is busy waits for one write together.
func TestOneWriteForMany(t *testing.T) {
	disk := &gate{let: make(chan struct{}), asked: make(chan struct{})}
	l := To(disk)
	var wg sync.WaitGroup
	write := func() {
		if err := l.Write(whole()); err != nil {
			t.Error(err)
		}
	}
	wg.Go(write)
	<-disk.asked
	for range 50 {
		wg.Go(write)
	}
	for l.waiting() < 50 {
		runtime.Gosched()
	}
	disk.let <- struct{}{}
	<-disk.asked
	disk.let <- struct{}{}
	wg.Wait()
	if n := strings.Count(disk.String(), "\n"); n != 51 || disk.writes != 2 {
		t.Errorf("%d lines in %d writes", n, disk.writes)
	}
}

// waiting is how many lines wait for the next write.
func (l *Log) waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Count(l.next.lines, []byte("\n"))
}

// Everybody whose line was in a write that failed hears of it.
func TestEverybodyHearsOfAFailure(t *testing.T) {
	l := To(&full{})
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if err := l.Write(whole()); !errors.Is(err, errFull) {
				t.Errorf("a line that was not written: %v", err)
			}
		})
	}
	wg.Wait()
}

// disk counts syncs, and refuses them when it is told to.
type disk struct {
	bytes.Buffer
	syncs int
	err   error
}

func (d *disk) Sync() error {
	d.syncs++
	return d.err
}

func TestSynced(t *testing.T) {
	for name, tc := range map[string]struct {
		durable Durability
		err     error
		syncs   int
	}{
		"not asked for":    {Written, errFull, 0},
		"asked for":        {Synced, nil, 2},
		"the disk says no": {Synced, errFull, 2},
	} {
		t.Run(name, func(t *testing.T) {
			d := &disk{err: tc.err}
			l := To(d)
			l.durable = tc.durable
			for range 2 {
				if err := l.Write(whole()); (err != nil) != (tc.durable == Synced && tc.err != nil) {
					t.Errorf("write: %v", err)
				}
			}
			if d.syncs != tc.syncs {
				t.Errorf("%d syncs", d.syncs)
			}
		})
	}
}

func TestSyncedFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	l, err := Open(path, Synced)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Write(Entry{Request: "one"}), l.Reopen(), l.Write(Entry{Request: "two"}), l.Close()); err != nil {
		t.Fatal(err)
	}
	if seen := requests(t, path); !seen["one"] || !seen["two"] {
		t.Errorf("lines: %v", seen)
	}
}

func BenchmarkWrite(b *testing.B) {
	l, err := Open(filepath.Join(b.TempDir(), "audit.jsonl"), Written)
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	b.ReportAllocs()
	b.SetParallelism(32)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if err := l.Write(whole()); err != nil {
				b.Error(err)
			}
		}
	})
}
