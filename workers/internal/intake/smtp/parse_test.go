package smtp

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"mailporter/workers/internal/intake"
)

func TestParsePath(t *testing.T) {
	for in, want := range map[string]struct {
		address string
		p       parameters
		err     error
	}{
		"<a@b>":                                {"a@b", parameters{}, nil},
		" <a@b> SIZE=1 Body=8bitmime":          {"a@b", parameters{"SIZE": "1", "BODY": "8bitmime"}, nil},
		"<>":                                   {"", parameters{}, nil},
		"<@x,@y:a@b>":                          {"a@b", parameters{}, nil},
		`<"a b"@c>`:                            {`"a b"@c`, parameters{}, nil},
		`<"a>b"@c> X`:                          {`"a>b"@c`, parameters{"X": ""}, nil},
		`<"a\"b"@c>`:                           {`"a\"b"@c`, parameters{}, nil},
		"<a=b@c> ORCPT=rfc822;a=2Bb@c":         {"a=b@c", parameters{"ORCPT": "rfc822;a=2Bb@c"}, nil},
		"<a@[127.0.0.1]>":                      {"a@[127.0.0.1]", parameters{}, nil},
		"a@b":                                  {"a@b", parameters{}, nil},
		"a@b SIZE=1":                           {"a@b", parameters{"SIZE": "1"}, nil},
		"a":                                    {"", nil, errPath},
		"Ann <a@b>":                            {"", nil, errPath},
		"a@b>":                                 {"", nil, errPath},
		"<a@b> -X=1":                           {"a@b", nil, errParameters},
		"<a@b":                                 {"", nil, errPath},
		"":                                     {"", nil, errPath},
		"<a>":                                  {"", nil, errAddress},
		"<@>":                                  {"", nil, errAddress},
		"<@x:>":                                {"", nil, errAddress},
		"<a b@c>":                              {"", nil, errAddress},
		"<a@b c>":                              {"", nil, errAddress},
		`<"a"b"@c>`:                            {"", nil, errPath},
		`<"a\"@c>`:                             {"", nil, errPath},
		"<a\x00@b>":                            {"", nil, errAddress},
		"<a@b>SIZE=1":                          {"a@b", nil, errParameters},
		"<a@b> X=1 x=2":                        {"a@b", nil, errParameters},
		"<a@b> =1":                             {"a@b", nil, errParameters},
		"<" + strings.Repeat("a", 254) + "@b>": {"", nil, errAddress},
	} {
		t.Run(in, func(t *testing.T) {
			address, p, err := parsePath(in)
			if address != want.address || !errors.Is(err, want.err) || !reflect.DeepEqual(p, want.p) {
				t.Errorf("%q, %v, %v", address, p, err)
			}
		})
	}
}

// Whatever is taken as an address can be written into a command again, and is read there as the same.
func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"<Smith@bar.com>", "<@hosta.int,@jkl.org:userc@d.bar.org>", `<"Joe.\\Blow"@example.com> SIZE=1`, "<>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		address, _, err := parsePath(s)
		if err != nil {
			return
		}
		if strings.ContainsAny(address, "\r\n\x00") {
			t.Fatalf("%q", address)
		}
		again, p, err := parsePath("<" + address + ">")
		if again != address || len(p) != 0 || err != nil {
			t.Errorf("%q reads as %q, %v, %v", address, again, p, err)
		}
	})
}

// What is read is what was sent but for the doubled dots, or it is refused; and the reader always finds the end.
func FuzzData(f *testing.F) {
	for _, s := range []string{"a\r\n.\r\n", "..\r\n.\r\n", ".\r\n", "a\n.\nb\r\n.\r\n", ".\rX\r\n.\r\n", strings.Repeat("x", 20) + "\r\n.\r\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		source := bytes.NewReader(in)
		d := newDataReader(bufio.NewReaderSize(source, 16), Config{Rules: intake.Rules{MaxSize: 1000, MaxHops: 3}})
		got, err := io.ReadAll(d)
		if err != nil && !d.ended {
			_ = d.skip() // must return
			return
		}
		if err != nil {
			return
		}
		if back := unstuff(in); !bytes.Equal(got, back) {
			t.Errorf("%q reads as %q, want %q", in, got, back)
		}
	})
}

// Where line ends are mended, a message that needs none of it is the same, and every other one has CRLF alone when it comes out.
func FuzzMendedData(f *testing.F) {
	for _, s := range []string{"a\r\n.\r\n", "a\nb\n.\n", "a\nb\n\r\n.\r\n", "a\n.\r\n", ".\n", "a\r\nb\n.\r\n", "0123456789abcdef\n.\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		read := func(mend bool) ([]byte, error) {
			d := newDataReader(bufio.NewReaderSize(bytes.NewReader(in), 16), Config{Rules: intake.Rules{MaxSize: 1000, MaxHops: 3}, MendLineEnds: mend})
			got, err := io.ReadAll(d)
			if err == nil && d.unclear {
				t.Errorf("%q ends nobody knows where", in)
			}
			return got, err
		}
		plain, err := read(false)
		mended, merr := read(true)
		if err == nil && (merr != nil || !bytes.Equal(plain, mended)) {
			t.Errorf("%q reads as %q, %v, want %q", in, mended, merr, plain)
		}
		if rest := bytes.ReplaceAll(mended, []byte("\r\n"), nil); merr == nil && bytes.ContainsAny(rest, "\r\n") {
			t.Errorf("%q reads as %q", in, mended)
		}
	})
}

// unstuff is the plain way: up to the first CRLF.CRLF, one dot less at each line's start.
func unstuff(in []byte) []byte {
	text := "\r\n" + string(in)
	text, _, _ = strings.Cut(text, "\r\n.\r\n")
	return []byte(strings.TrimPrefix(strings.ReplaceAll(text+"\r\n", "\r\n.", "\r\n"), "\r\n"))
}
