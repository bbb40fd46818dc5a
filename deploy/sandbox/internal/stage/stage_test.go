package stage

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var addresses = []string{"a@x.example", "b@x.example", "c@x.example"}

func TestLetters(t *testing.T) {
	letters := Write(240, addresses, "run")
	seen := map[[32]byte]bool{}
	largest, dots, eightBit := 0, false, false
	for _, l := range letters {
		if seen[l.Sum] {
			t.Fatal("two letters are equal: a doubled one could not be told from another")
		}
		seen[l.Sum] = true
		if !bytes.HasSuffix(l.Bytes, []byte("\r\n")) || bytes.Contains(bytes.ReplaceAll(l.Bytes, []byte("\r\n"), nil), []byte("\n")) {
			t.Fatalf("not lines that end in CRLF: %q", l.Bytes[:100])
		}
		largest = max(largest, len(l.Bytes))
		dots = dots || bytes.Contains(l.Bytes, []byte("\r\n.\r\n"))
		eightBit = eightBit || bytes.ContainsFunc(l.Bytes, func(r rune) bool { return r > 127 })
	}
	if largest < 5<<20 || !dots || !eightBit {
		t.Fatalf("largest %d bytes, dots %v, 8-bit %v: not awkward enough", largest, dots, eightBit)
	}
}

// arrive puts the letters into Maildirs, as a worker would.
func arrive(t *testing.T, root string, letters []Letter, change func(b []byte) []byte) {
	t.Helper()
	for i, l := range letters {
		for _, to := range l.To {
			dir := filepath.Join(root, to, "new")
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), change(l.Bytes), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestArrivals(t *testing.T) {
	letters := Write(12, addresses, "run")[4:] // without the 5 MB one
	expected := 0
	for _, l := range letters {
		expected += len(l.To)
	}
	same := func(b []byte) []byte { return b }
	for name, tc := range map[string]struct {
		meddle  func(t *testing.T, root string)
		trace   bool
		want    Count
		changed func([]byte) []byte
	}{
		"all there": {want: Count{Expected: expected, Arrived: expected}},
		"one lost": {
			meddle: func(t *testing.T, root string) { remove(t, first(t, root)) },
			want:   Count{Expected: expected, Arrived: expected - 1, Lost: 1}},
		"one doubled": {
			meddle: func(t *testing.T, root string) { copyFile(t, first(t, root), same) },
			want:   Count{Expected: expected, Arrived: expected + 1, Doubled: 1}},
		"one altered": {
			meddle: func(t *testing.T, root string) {
				path := first(t, root)
				copyFile(t, path, func(b []byte) []byte { return append(b, '\n') })
				remove(t, path)
			},
			want: Count{Expected: expected, Arrived: expected, Lost: 1, Altered: 1}},
		"behind trace headers": {trace: true, want: Count{Expected: expected, Arrived: expected},
			changed: func(b []byte) []byte { return append([]byte("Received: by x\r\n"), b...) }},
		"trace headers that nobody expects": {want: Count{Expected: expected, Arrived: expected, Lost: expected, Altered: expected},
			changed: func(b []byte) []byte { return append([]byte("Received: by x\r\n"), b...) }},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			if tc.changed == nil {
				tc.changed = same
			}
			arrive(t, root, letters, tc.changed)
			if tc.meddle != nil {
				tc.meddle(t, root)
			}
			a := Expect(root, letters)
			a.BehindTrace = tc.trace
			for range 2 { // looking twice counts nothing twice
				counts, err := a.Look()
				if err != nil {
					t.Fatal(err)
				}
				if got := Total(counts); got != tc.want {
					t.Fatalf("%+v, want %+v", got, tc.want)
				}
			}
		})
	}
}

// TestBySender: a letter to two has arrived when both have it.
func TestBySender(t *testing.T) {
	root := t.TempDir()
	letters := []Letter{
		seal("a@x.example", []string{"b@x.example", "c@x.example"}, 1, 1, "run", "hidden", plainText),
		seal("a@x.example", []string{"b@x.example"}, 1, 2, "run", "lost", plainText),
		seal("b@x.example", []string{"a@x.example"}, 1, 3, "run", "doubled", plainText),
		Attached("c@x.example", "a@x.example", 1000, 4, "run"),
	}
	letters[3].Rebuilt = true
	if bytes.Contains(letters[0].Bytes, []byte("c@x.example")) {
		t.Error("the header names who is hidden")
	}
	arrive(t, root, slices.Concat(letters[:1], letters[2:]), func(b []byte) []byte {
		return bytes.Replace(b, []byte("Content-Type: application/octet-stream"), []byte("X-Anew: yes\r\nContent-Type: application/octet-stream"), 1)
	})
	copyFile(t, filepath.Join(root, "a@x.example", "new", "1"), func(b []byte) []byte { return b })
	a := Expect(root, letters)
	if _, err := a.Look(); err != nil {
		t.Fatal(err)
	}
	want := map[string]Count{
		"a@x.example": {Expected: 2, Arrived: 1, Lost: 1}, "b@x.example": {Expected: 1, Arrived: 1, Doubled: 1}, "c@x.example": {Expected: 1, Arrived: 1},
	}
	if got := a.BySender(letters); !maps.Equal(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
}

func first(t *testing.T, root string) string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(root, "*", "new", "*"))
	if err != nil || len(all) == 0 {
		t.Fatal("no file", err)
	}
	return all[0]
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func copyFile(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+"-copy", change(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestLeaks(t *testing.T) {
	page := ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, page) }))
	defer server.Close()
	const jwt = "eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9.eyJhdWQiOiJodHRwczovL291dGxvb2sifQ.c2lnbmF0dXJlLW9mLXRoZS10b2tlbg"
	for name, tc := range map[string]struct {
		file, content, page string
		want                string // in the error; empty = no leak
	}{
		"nothing":                   {file: "broker.log", content: "all is well"},
		"a secret in a log":         {file: "broker.log", content: "x SECRET y", want: "the secret mine stands in"},
		"a secret in a state":       {file: "state/worker.db", content: "\x00SECRET\x00", want: "the secret mine stands in"},
		"a token of Google's":       {file: "audit.jsonl", content: "ya29.abcdefghijklmnopqrstuvwxyz", want: "an access token stands in"},
		"a signed token":            {file: "audit.jsonl", content: jwt, want: "an access token stands in"},
		"a private key":             {file: "broker.log", content: "tls: -----BEGIN EC PRIVATE KEY-----\nAAAA", want: "a private key stands in"},
		"a key of a keyset":         {file: "state/x", content: "KEYSET", want: "the secret keyset.json, part 1 stands in"},
		"a secret in a page":        {page: "metric{a=\"SECRET\"} 1", want: "the secret mine stands in http://"},
		"the provider's own file":   {file: "sandbox.yaml", content: "SECRET"},
		"mail may hold what it may": {file: "mail/a/new/1", content: jwt},
	} {
		t.Run(name, func(t *testing.T) {
			f := Folder(t.TempDir())
			secret, err := f.Secret("mine")
			if err != nil {
				t.Fatal(err)
			}
			const key = "GiBzZWNyZXQtbWF0ZXJpYWwtb2YtYS1rZXlzZXQtZm9yLXRlc3Rz"
			if err := f.Write("secrets/keyset.json", `{"primaryKeyId": 1, "key": [{"keyData": {"value": "`+key+`"}}]}`); err != nil {
				t.Fatal(err)
			}
			if tc.file != "" {
				if err := f.Write(tc.file, strings.NewReplacer("SECRET", secret, "KEYSET", key).Replace(tc.content)); err != nil {
					t.Fatal(err)
				}
			}
			page = strings.ReplaceAll(tc.page, "SECRET", secret)
			err = f.Leaks(t.Context(), []string{server.URL})
			if (err == nil) != (tc.want == "") || err != nil && (!strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), secret)) {
				t.Fatalf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestFolderKeepsSecrets(t *testing.T) {
	f := Folder(t.TempDir())
	one, err := f.Secret("a")
	if err != nil {
		t.Fatal(err)
	}
	again, err := f.Secret("a")
	if err != nil || one != again || len(one) < 30 {
		t.Fatalf("%q, %q, %v", one, again, err)
	}
	info, err := os.Stat(f.Path("secrets/a"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info, err)
	}
	if strings.ContainsAny(one, " \n:") {
		t.Fatal("a secret must fit into YAML as it is")
	}
}

func TestUse(t *testing.T) {
	before := time.Now()
	p, err := Launch(t.Context(), t.TempDir(), "sleep", func(context.Context) bool { return true }, "sleep", "1000")
	if err != nil {
		t.Fatal(err)
	}
	use, err := p.Use()
	if err != nil || use.Resident == 0 || use.Peak < use.Resident || use.Sockets != 0 || p.Began().Before(before) {
		t.Errorf("%+v, began %s, %v", use, p.Began(), err)
	}
	if err := StopAll([]*Program{p}); err == nil {
		t.Error("sleep drained") // it ends by the signal
	}
	if _, err := p.Use(); err == nil {
		t.Error("a program that has ended uses something")
	}
}

// TestFreePorts: a port that an outgoing connection may take is gone when its program comes back.
func TestFreePorts(t *testing.T) {
	ports := make([]int, 100)
	into := make([]*int, len(ports))
	for i := range ports {
		into[i] = &ports[i]
	}
	if err := FreePorts(into...); err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, p := range ports {
		if seen[p] || p < firstPort || p > lastPort {
			t.Errorf("port %d: twice, or out of bounds", p)
		}
		seen[p] = true
	}
}
