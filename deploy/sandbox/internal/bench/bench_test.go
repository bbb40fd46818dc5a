package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailporter/sandbox/internal/stage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestCorpus(t *testing.T) {
	const n = 2000
	one, two := newCorpus(1), newCorpus(1)
	var total, below, odd int
	for range n {
		raw, ordinary := one.next()
		if again, _ := two.next(); !bytes.Equal(raw, again) {
			t.Fatal("the same seed gave another message")
		}
		if !ordinary {
			odd++
			continue
		}
		if !bytes.Contains(raw, []byte("\r\n\r\n")) || !bytes.HasSuffix(raw, []byte("\r\n")) || bytes.Count(raw, []byte("\n")) != bytes.Count(raw, []byte("\r\n")) {
			t.Fatalf("not an ordinary message: %.300q", raw)
		}
		if len(raw) < smallest/2 || len(raw) > largest {
			t.Fatalf("%d bytes", len(raw))
		}
		total += len(raw)
		if len(raw) < 20<<10 {
			below++
		}
	}
	if mean := total / (n - odd); odd != n/oddEvery || mean < 30<<10 || mean > 60<<10 || below < n/3 || below > 2*n/3 {
		t.Errorf("%d odd ones, %d bytes on average, %d below 20 kB", odd, mean, below)
	}
}

func TestFillLinksWhatIsShared(t *testing.T) {
	dir := t.TempDir()
	for _, box := range []string{"a", "b"} {
		if err := os.MkdirAll(filepath.Join(dir, box, "new"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := newCorpus(1).fill(2*oddEvery, filepath.Join(dir, "a"), filepath.Join(dir, "b")); err != nil {
		t.Fatal(err)
	}
	n, last, err := count(dir)
	if err != nil || n != 4*oddEvery || !last.Equal(time.Unix(1700000000+2*oddEvery-1, 0)) {
		t.Errorf("%d messages, the last of %s, %v", n, last, err)
	}
}

func TestCount(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"mail/new/1", "mail/cur/2:2,S", "mail/tmp/3", "mail/new/.hidden", "mail/dovecot.index", "state/new.db"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if n, last, err := count(dir); n != 2 || last.IsZero() || err != nil {
		t.Errorf("%d, %s, %v", n, last, err)
	}
}

func TestAnswer(t *testing.T) {
	for name, tc := range map[string]struct {
		lines string
		want  int
		fails bool
	}{
		"no literal":          {"* OK hello\r\na OK done\r\n", 0, false},
		"two":                 {"* 1 FETCH (UID 1 BODY[] {3}\r\nabc)\r\n* 2 FETCH (UID 2 BODY[] {0}\r\n)\r\na OK done\r\n", 2, false},
		"a tag in a literal":  {"* 1 FETCH (BODY[] {9}\r\na OK no\r\n)\r\na OK done\r\n", 1, false},
		"refused":             {"a NO [LIMIT] not now\r\n", 0, true},
		"cut in a literal":    {"* 1 FETCH (BODY[] {9}\r\nabc", 0, true},
		"cut between":         {"* 1 FETCH (BODY[] {1}\r\na)\r\n", 1, true},
		"braces, no literal":  {"* OK {x}\r\n* OK {3} more\r\na OK done\r\n", 0, false},
		"another one's tag":   {"b OK done\r\n", 0, true},
		"a size that is none": {"* 1 FETCH (BODY[] {-1}\r\na OK done\r\n", 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			n, err := answer(bufio.NewReader(strings.NewReader(tc.lines)))
			if n != tc.want || (err != nil) != tc.fails {
				t.Errorf("%d, %v", n, err)
			}
		})
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add("* 1 FETCH (UID 1 BODY[] {3}\r\nabc)\r\na OK done\r\n")
	f.Fuzz(func(t *testing.T, lines string) {
		r := bufio.NewReader(strings.NewReader(lines))
		if n, err := answer(r); n < 0 || n > strings.Count(lines, "{") || err == nil && !strings.Contains(lines, "a OK") {
			t.Errorf("%d, %v", n, err)
		}
	})
}

func TestLast(t *testing.T) {
	early, late := time.Unix(1, 0), time.Unix(2, 0)
	for name, tc := range map[string]struct {
		all  []standing
		want time.Time
		done bool
	}{
		"none yet":       {nil, time.Time{}, false},
		"one is missing": {[]standing{{LastSuccess: early}}, early, false},
		"one is unread":  {[]standing{{LastSuccess: early}, {}}, time.Time{}, false},
		"all":            {[]standing{{LastSuccess: late}, {LastSuccess: early}}, late, true},
	} {
		t.Run(name, func(t *testing.T) {
			if end, done := last(tc.all, 2); done != tc.done || !end.Equal(tc.want) {
				t.Errorf("%s, %v", end, done)
			}
		})
	}
}

func TestFinishedWaitsForEveryMailbox(t *testing.T) {
	looks := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if looks++; looks < 3 {
			_, _ = io.WriteString(w, `[{"mailbox": "a", "last_success": "2026-11-16T10:00:00Z"}, {"mailbox": "b"}]`)
			return
		}
		_, _ = io.WriteString(w, `[{"mailbox": "a", "last_success": "2026-11-16T10:00:00Z"}, {"mailbox": "b", "last_success": "2026-11-16T10:00:09Z"}]`)
	}))
	defer http.DefaultClient.CloseIdleConnections()
	defer server.Close()
	b := &bench{Ports: Ports{Worker: portOf(t, server.URL)}}
	end, err := b.finished(t.Context(), 2)
	if err != nil || end.Second() != 9 || looks != 3 {
		t.Errorf("%s after %d looks, %v", end, looks, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.finished(ctx, 3); err == nil {
		t.Error("it waited for what never came")
	}
}

func portOf(t *testing.T, base string) int {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func TestComplaint(t *testing.T) {
	var s standing
	s.Mailbox = "a@x.example"
	s.Failure = &struct {
		Text string `json:"text"`
	}{"no such folder"}
	if got := complaint([]standing{{}, s}); got != "a@x.example: no such folder" {
		t.Error(got)
	}
	if got := complaint([]standing{{}}); got != "it reads 1" {
		t.Error(got)
	}
}

func TestDuelTakesTurns(t *testing.T) {
	var order []string
	side := func(name string, o outcome) func() (outcome, error) {
		return func() (outcome, error) {
			order = append(order, name)
			return o, nil
		}
	}
	d, err := (&bench{}).duel(side("ours", outcome{moved: 100, took: time.Second}), side("theirs", outcome{moved: 98, took: 2 * time.Second}), 3)
	if err != nil || !slices.Equal(order, []string{"ours", "theirs", "theirs", "ours", "ours", "theirs"}) {
		t.Errorf("%v, %v", order, err)
	}
	if r := d.compare(); r.Ours != 100 || r.Limit != 49 {
		t.Errorf("%+v", r)
	}
	if ours, theirs := d.leftBehind(0, 100), d.leftBehind(1, 100); ours != "0" || theirs != "2" {
		t.Errorf("left behind %s and %s", ours, theirs)
	}
	d[1][1].cut = true
	if got := d.leftBehind(1, 100); got != "?" {
		t.Errorf("%s left behind by what was cut short", got)
	}
}

func TestDuelEndsWithTheFirstError(t *testing.T) {
	fails := func() (outcome, error) { return outcome{}, errors.New("no") }
	if _, err := (&bench{}).duel(fails, fails, 3); err == nil {
		t.Error("no error")
	}
}

// Every template has what it asks for, and no configuration of a peer lies where others may read the password.
func TestConfigurations(t *testing.T) {
	b := &bench{Folder: stage.Folder(t.TempDir()), Target: t.TempDir()}
	if err := errors.Join(b.Certificates("mail"), b.Templates(files, b)); err != nil {
		t.Fatal(err)
	}
	password, err := b.Secret("account")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"worker.yaml", "mbsync", "mpop", "fetchmail", "getmail"} {
		t.Run(name, func(t *testing.T) {
			tr, err := b.trial()
			if err != nil {
				t.Fatal(err)
			}
			tr.Protocol, tr.Account, tr.Port = "IMAP", box, 993
			path, err := tr.configure(name)
			if err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(path)
			info, failed := os.Stat(path)
			if errors.Join(err, failed) != nil || info.Mode().Perm() != 0o600 {
				t.Fatal(err, failed, info)
			}
			if name != "worker.yaml" && !bytes.Contains(text, []byte(password)) {
				t.Errorf("no password in %s", text)
			}
		})
	}
}

func TestWatch(t *testing.T) {
	for name, tc := range map[string]struct {
		program string
		fails   bool
	}{"a good end": {"true", false}, "a complaint": {"false", false}, "no such program": {"/no/such/program", true}} {
		t.Run(name, func(t *testing.T) {
			took, _, err := watch(t.Context(), exec.Command(tc.program))
			if (err != nil) != tc.fails || !tc.fails && took <= 0 {
				t.Errorf("%s, %v", took, err)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := watch(ctx, exec.Command("sleep", "1000")); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestUsage(t *testing.T) {
	for name, args := range map[string][]string{"unknown flag": {"-none"}, "argument": {"now"}, "no rounds": {"-rounds", "0"}, "too few": {"-messages", fmt.Sprint(fewest - 1)}} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			if code := run(t.Context(), args, &out, &out); code != 2 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}
