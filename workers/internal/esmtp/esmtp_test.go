package esmtp

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReadReply(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want Reply
		err  error
	}{
		"one line":       {"250 OK\r\n", Reply{Code: 250, Lines: []string{"OK"}}, nil},
		"enhanced":       {"250 2.1.5 OK\r\n", Reply{250, [3]int{2, 1, 5}, []string{"2.1.5 OK"}}, nil},
		"many lines":     {"250-a\r\n250-SIZE 5\r\n250 b\r\n", Reply{Code: 250, Lines: []string{"a", "SIZE 5", "b"}}, nil},
		"code alone":     {"354\r\n", Reply{Code: 354, Lines: []string{""}}, nil},
		"lone LF":        {"250 OK\n", Reply{Code: 250, Lines: []string{"OK"}}, nil},
		"no code":        {"hello\r\n", Reply{}, ErrSyntax},
		"other code":     {"250-a\r\n251 b\r\n", Reply{}, ErrSyntax},
		"too short":      {"25\r\n", Reply{}, ErrSyntax},
		"sign":           {"+50 OK\r\n", Reply{}, ErrSyntax},
		"no separator":   {"250OK\r\n", Reply{}, ErrSyntax},
		"out of range":   {"600 OK\r\n", Reply{}, ErrSyntax},
		"breaks off":     {"250-a\r\n250", Reply{}, io.ErrUnexpectedEOF},
		"nothing":        {"", Reply{}, io.ErrUnexpectedEOF},
		"endless line":   {"250 " + strings.Repeat("x", MaxLine) + "\r\n", Reply{}, ErrSyntax},
		"endless reply":  {strings.Repeat("250-x\r\n", maxLines+1), Reply{}, ErrSyntax},
		"large enhanced": {"550 5.1.1000 x\r\n", Reply{Code: 550, Lines: []string{"5.1.1000 x"}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ReadReply(bufio.NewReaderSize(strings.NewReader(c.in), MaxLine))
			if !errors.Is(err, c.err) || !reflect.DeepEqual(got, c.want) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

func FuzzReply(f *testing.F) {
	for _, s := range []string{"250 OK\r\n", "250-First line\r\n250-Second line\r\n250-234 Text beginning with numbers\r\n250 The last line\r\n", "550 5.7.1 no\r\n", "2\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := ReadReply(bufio.NewReaderSize(bytes.NewReader(in), MaxLine))
		if err != nil {
			return
		}
		if r.Code < 100 || r.Code > 599 || len(r.Lines) == 0 || len(r.Lines) > maxLines {
			t.Errorf("%+v", r)
		}
		if strings.ContainsAny(r.Error(), "\r\n\x00") {
			t.Errorf("%q", r.Error())
		}
	})
}

// write sends a message in parts of n bytes and returns what went over the wire.
func write(m []byte, n int) ([]byte, error) {
	var out bytes.Buffer
	w := NewDotWriter(bufio.NewWriter(&out))
	for part := range chunks(m, n) {
		if _, err := w.Write(part); err != nil {
			return out.Bytes(), err
		}
	}
	err := w.End()
	return out.Bytes(), err
}

func chunks(m []byte, n int) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(m) > 0 {
			k := min(n, len(m))
			if !yield(m[:k]) {
				return
			}
			m = m[k:]
		}
	}
}

func TestDotWriter(t *testing.T) {
	for name, c := range map[string]struct {
		in, want string
		err      error
	}{
		"plain":            {"a\r\n", "a\r\n.\r\n", nil},
		"empty":            {"", ".\r\n", nil},
		"dot":              {".\r\n", "..\r\n.\r\n", nil},
		"dots":             {"..\r\n.a\r\n.", "...\r\n..a\r\n..\r\n.\r\n", nil},
		"dot in a line":    {"a.b.\r\n", "a.b.\r\n.\r\n", nil},
		"no line end":      {"a", "a\r\n.\r\n", nil},
		"eight bits":       {"\xff\x00\x80\r\n", "\xff\x00\x80\r\n.\r\n", nil},
		"lone LF":          {"a\nb", "", ErrLoneLineEnd},
		"lone LF at once":  {"\n", "", ErrLoneLineEnd},
		"lone CR":          {"a\rb", "", ErrLoneLineEnd},
		"CR at the end":    {"a\r", "", ErrLoneLineEnd},
		"CR CR LF":         {"a\r\r\n", "", ErrLoneLineEnd},
		"dot after CR":     {"a\r.\r\n", "", ErrLoneLineEnd},
		"dot after LF":     {"a\n.\r\n", "", ErrLoneLineEnd},
		"doubled line end": {"\r\n\r\n.\r\n", "\r\n\r\n..\r\n.\r\n", nil},
	} {
		for _, n := range []int{1, 2, 3, 1000} {
			got, err := write([]byte(c.in), n)
			if !errors.Is(err, c.err) || err == nil && string(got) != c.want {
				t.Errorf("%s in parts of %d: %q, %v; want %q", name, n, got, err, c.want)
			}
		}
	}
}

// What a server reads is what was written, whatever the parts; what cannot be carried is refused, never altered.
func FuzzDotWriter(f *testing.F) {
	for _, s := range []string{"a\r\n", ".\r\n", "a\nb", "\r\n.\r\n.\r\n", "..", "a\r"} {
		f.Add([]byte(s), 3)
	}
	f.Fuzz(func(t *testing.T, m []byte, n int) {
		wire, err := write(m, 1+max(n, -n)%100)
		if err != nil {
			rest := bytes.ReplaceAll(m, []byte("\r\n"), nil)
			if !bytes.ContainsAny(rest, "\r\n") {
				t.Errorf("%q was refused: %v", m, err)
			}
			return
		}
		text := "\r\n" + string(wire)
		body, rest, ended := strings.Cut(text, "\r\n.\r\n")
		if !ended || rest != "" {
			t.Fatalf("%q ends early or never: %q", m, wire)
		}
		got := strings.TrimPrefix(strings.ReplaceAll(body+"\r\n", "\r\n..", "\r\n."), "\r\n")
		if got != string(m) && got != string(m)+"\r\n" {
			t.Errorf("%q arrives as %q", m, got)
		}
	})
}

// A reader may return bytes together with its end, or in odd parts.
func TestCopyBody(t *testing.T) {
	for name, wrap := range map[string]func(io.Reader) io.Reader{"bytes": iotest.OneByteReader, "data with EOF": iotest.DataErrReader, "halves": iotest.HalfReader} {
		var out bytes.Buffer
		w := NewDotWriter(bufio.NewWriter(&out))
		bodyErr, wireErr := w.CopyBody(wrap(strings.NewReader("a\r\n.b\r\n")))
		if err := errors.Join(bodyErr, wireErr, w.End()); err != nil || out.String() != "a\r\n..b\r\n.\r\n" {
			t.Errorf("%s: %q, %v", name, out.String(), err)
		}
	}
}

func TestStatus(t *testing.T) {
	for want, r := range map[string]Reply{"5.1.1": {Code: 550, Enhanced: [3]int{5, 1, 1}}, "4.0.0": {Code: 451}, "5.7.139": {Code: 535, Enhanced: [3]int{5, 7, 139}}} {
		if got := r.Status(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
