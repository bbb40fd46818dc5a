package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func parse(text string) (*Doc, *Map) {
	d := Parse("f.yaml", "/etc/app", []byte(text))
	return d, d.Root()
}

func TestReadsWhatIsThere(t *testing.T) {
	d, m := parse(`
text: hello
yes: true
n: 7
size: 25M
clock: 00:05:10
list: [a, b]
single: a
path: x/y.pem
abs: /z
addr: 127.0.0.1:80
word: imap
secret: {env: HOME}
secrets: [{file: s1}, {file: /s2}]
sub: {inner: 1}
named: {one: {v: 1}, two: {v: 2}}
maps: [{v: a}, {v: b}]
`)
	check := func(name string, ok bool) {
		t.Helper()
		if !ok {
			t.Error(name)
		}
	}
	check("text", m.Text("text", "") == "hello" && m.Text("none", "def") == "def")
	check("bool", m.Bool("yes", false) && m.Bool("none", true))
	check("int", m.Int("n", 1, 1, 9) == 7 && m.Int("none", 3, 1, 9) == 3)
	check("size", m.Size("size", 0) == 25<<20)
	check("clock", m.Clock("clock", 0, 0, time.Hour) == 5*time.Minute+10*time.Second)
	check("list", strings.Join(m.Texts("list"), "") == "ab" && strings.Join(m.Texts("single"), "") == "a")
	check("path", m.Path("path", "") == "/etc/app/x/y.pem" && m.Path("abs", "") == "/z" && m.Path("none", "d") == "/etc/app/d")
	check("address", m.Address("addr", "") == "127.0.0.1:80")
	check("word", m.OneOf("word", "POP3", "POP3", "IMAP") == "IMAP")
	check("secret", m.Secret("secret").Env == "HOME" && m.Secret("none").IsZero())
	refs := m.Secrets("secrets")
	check("secrets", len(refs) == 2 && refs[0].File == "/etc/app/s1" && refs[1].File == "/s2")
	check("sub", m.Map("sub").Int("inner", 0, 0, 9) == 1 && m.Map("sub").Present() && !m.Map("none").Present())
	named := m.Named("named")
	check("named", len(named) == 2 && named[1].Name == "two" && named[1].Map.Int("v", 0, 0, 9) == 2)
	maps := m.Maps("maps")
	check("maps", len(maps) == 2 && maps[1].Text("v", "") == "b" && maps[1].Where() == "maps[1]")
	m.Done()
	if err := d.Complaints().Err(); err != nil {
		t.Fatal(err)
	}
}

func TestComplaints(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		read func(*Map)
		want string
	}{
		"unknown":         {"a: 1\ncycle-tme: 5", func(m *Map) { m.Text("a", ""); m.Text("cycle-time", "") }, `f.yaml:2:1: cycle-tme: is no known option here; did you mean "cycle-time"?`},
		"unknown, far":    {"zzzzzzzzz: 5", func(m *Map) { m.Text("b", ""); m.Text("a", "") }, `zzzzzzzzz: is no known option here; known here: a, b`},
		"twice":           {"a: 1\na: 2", func(m *Map) { m.Text("a", "") }, "f.yaml:2:1: a: is given twice"},
		"clock form":      {"c: 5s", func(m *Map) { m.Clock("c", time.Second, 0, time.Hour) }, `f.yaml:1:4: c: "5s" is not a time of the form hh:mm:ss; write for example "00:00:01"`},
		"clock minutes":   {"c: 00:60:00", func(m *Map) { m.Clock("c", 0, 0, time.Hour) }, "not a time"},
		"clock sign":      {"c: '00:-1:00'", func(m *Map) { m.Clock("c", 0, 0, time.Hour) }, "not a time"},
		"clock range":     {"c: 01:00:01", func(m *Map) { m.Clock("c", 0, 0, time.Hour) }, `out of range; write "00:00:00" to "01:00:00"`},
		"int":             {"n: x", func(m *Map) { m.Int("n", 3, 1, 9) }, "not a whole number from 1 to 9"},
		"int range":       {"n: 10", func(m *Map) { m.Int("n", 3, 1, 9) }, "not a whole number from 1 to 9"},
		"size":            {"n: 10q", func(m *Map) { m.Size("n", 3) }, "is not a size"},
		"bool":            {"b: ja", func(m *Map) { m.Bool("b", false) }, "neither true nor false"},
		"word":            {"w: SMPT", func(m *Map) { m.OneOf("w", "SMTP", "SMTP", "EWS") }, `"SMPT" is not allowed; use one of: SMTP, EWS`},
		"address":         {"l: localhost", func(m *Map) { m.Address("l", "") }, "is not host:port"},
		"missing":         {"a: {b: 1}", func(m *Map) { s := m.Map("a"); s.Text("b", ""); s.Require("c", "name it") }, "f.yaml:1:4: a.c: is missing; name it"},
		"list for text":   {"a: [1]", func(m *Map) { m.Text("a", "") }, "must be a single value"},
		"text for map":    {"a: 1", func(m *Map) { m.Map("a") }, "must be a mapping"},
		"text for maps":   {"a: 1", func(m *Map) { m.Maps("a") }, "must be a list"},
		"map in texts":    {"a: [{b: 1}]", func(m *Map) { m.Texts("a") }, "must be a list of texts"},
		"literal secret":  {"s: hunter2", func(m *Map) { m.Secret("s") }, "f.yaml:1:4: warning: s: a secret stands in the file itself; write {file: PATH}"},
		"two places":      {"s: {file: a, env: B}", func(m *Map) { m.Secret("s") }, "must name exactly one place"},
		"secret typo":     {"s: {fiel: a}", func(m *Map) { m.Secret("s") }, `s.fiel: is no known option here; did you mean "file"?`},
		"empty secret":    {`s: ""`, func(m *Map) { m.Secret("s") }, "is empty"},
		"root is a list":  {"- a", func(m *Map) {}, "must be a mapping"},
		"syntax":          {"a: [1", func(m *Map) {}, "is not YAML"},
		"broken second":   {"a: 1\n---\n[", func(m *Map) { m.Text("a", "") }, "f.yaml:4:1: is not YAML"},
		"second document": {"a: 1\n---\nb: 2", func(m *Map) { m.Text("a", "") }, "a second YAML document"},
	} {
		t.Run(name, func(t *testing.T) {
			d, m := parse(tc.text)
			tc.read(m)
			m.Done()
			got := d.Complaints().Error()
			if !strings.Contains(got, tc.want) {
				t.Fatalf("complaints:\n%s\nwant: %s", got, tc.want)
			}
			if strings.Contains(got, "hunter2") {
				t.Fatal("a secret was printed")
			}
		})
	}
}

func TestWarningsDoNotFail(t *testing.T) {
	d, m := parse("s: hunter2")
	m.Secret("s")
	m.Done()
	if len(d.Complaints()) != 1 || d.Complaints().Err() != nil {
		t.Fatal("a literal secret must warn and no more")
	}
}

func TestLayers(t *testing.T) {
	d, m := parse("top: {a: 1, sub: {x: 1}}\nmid: {a: 2, b: 2, sub: {y: 2}}\nlow: {a: 3, b: 3, c: bad}")
	low := m.Map("low")
	layered := m.Map("top").Over(m.Map("mid")).Over(low)
	if layered.Text("a", "") != "1" || layered.Text("b", "") != "2" || layered.Text("c", "") != "bad" {
		t.Fatal("the topmost layer must win")
	}
	sub := layered.Map("sub")
	if sub.Text("x", "") != "1" || sub.Text("y", "") != "2" {
		t.Fatal("mappings are layered too")
	}
	layered.Int("c", 0, 0, 1)
	if got := d.Complaints().Error(); !strings.Contains(got, "f.yaml:3:22: low.c:") {
		t.Fatalf("the complaint must point to the layer that has the option: %s", got)
	}
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.yaml")
	if err := os.WriteFile(path, []byte("p: b.pem"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := Read(path).Root().Path("p", ""); got != filepath.Join(dir, "b.pem") {
		t.Fatal(got)
	}
	missing := Read(filepath.Join(dir, "none.yaml"))
	if missing.Root().Present() || !strings.Contains(missing.Complaints().Error(), "cannot be read: no such file") {
		t.Fatal(missing.Complaints())
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"a: 1", "a: {b: [1, {c: d}]}", "a: &x 1\nb: *x", "- a", "", "---\n---\n", "a: [1", "s: {file: x}", "? [a]: b"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		d := Parse("f", "/", text)
		m := d.Root()
		for _, key := range append(m.Keys(), "a") {
			m.Text(key, "")
			m.Texts(key)
			m.Clock(key, 0, 0, time.Hour)
			m.Size(key, 0)
			m.Secret(key)
			m.Secrets(key)
			m.Map(key).Done()
			m.Maps(key)
			m.Named(key)
		}
		m.Done()
		_ = d.Complaints().Error()
	})
}

func TestKnow(t *testing.T) {
	d, m := parse("a: 1\nb: 2\nalfa: 3")
	m.Know([]string{"a", "alpha"})
	under, _ := parse("c: 4")
	layered := m.Over(under.Root())
	if layered.Text("b", "") != "2" || layered.Text("c", "") != "4" || layered.Has("d") {
		t.Fatal("values")
	}
	m.Done()
	got := d.Complaints().Error()
	if strings.Count(got, "\n") != 0 || !strings.Contains(got, `alfa: is no known option here; did you mean "alpha"?`) {
		t.Fatalf("complaints: %s", got)
	}
}

func TestDate(t *testing.T) {
	for text, want := range map[string]string{
		"d: 2027-03-01":                "2027-03-01T00:00:00Z",
		"d: 2027-03-01T09:30:00+02:00": "2027-03-01T07:30:00Z",
		"x: 1":                         "0001-01-01T00:00:00Z",
	} {
		d, m := parse(text)
		if got := m.Date("d").Format(time.RFC3339); got != want || len(d.Complaints()) != 0 {
			t.Errorf("%s: %s, %v", text, got, d.Complaints())
		}
	}
	d, m := parse("s: {file: a, expires: soon}")
	m.Secret("s")
	if got := d.Complaints().Error(); !strings.Contains(got, `f.yaml:1:23: s.expires: "soon" is no date; write for example 2027-03-01`) {
		t.Error(got)
	}
}
