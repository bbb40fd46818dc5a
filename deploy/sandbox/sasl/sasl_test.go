package sasl

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	tests := []struct {
		name  string
		parse func([]byte) (Bearer, error)
		in    string
		want  Bearer
	}{
		{"xoauth2", ParseXOAUTH2, "user=a@b.c\x01auth=Bearer T\x01\x01", Bearer{"a@b.c", "T"}},
		{"xoauth2, lower case", ParseXOAUTH2, "user=a@b.c\x01auth=bearer T\x01\x01", Bearer{"a@b.c", "T"}},
		{"xoauth2 without a user", ParseXOAUTH2, "user=\x01auth=Bearer T\x01\x01", Bearer{}},
		{"xoauth2 without a token", ParseXOAUTH2, "user=a\x01auth=Bearer \x01\x01", Bearer{}},
		{"xoauth2 with one ^A at the end", ParseXOAUTH2, "user=a\x01auth=Bearer T\x01", Bearer{}},
		{"xoauth2 with another scheme", ParseXOAUTH2, "user=a\x01auth=Basic T\x01\x01", Bearer{}},
		{"oauthbearer", ParseOAuthBearer, "n,a=a@b.c,\x01host=h\x01port=1\x01auth=Bearer T\x01\x01", Bearer{"a@b.c", "T"}},
		{"oauthbearer with a comma", ParseOAuthBearer, "n,a=a=2Cb=3Dc,\x01auth=Bearer T\x01\x01", Bearer{"a,b=c", "T"}},
		{"oauthbearer without authzid", ParseOAuthBearer, "n,,\x01auth=Bearer T\x01\x01", Bearer{}},
		{"oauthbearer with channel binding", ParseOAuthBearer, "p=tls,a=a,\x01auth=Bearer T\x01\x01", Bearer{}},
		{"oauthbearer, cancelled", ParseOAuthBearer, "\x01", Bearer{}},
		{"xoauth2 where oauthbearer is due", ParseOAuthBearer, "user=a\x01auth=Bearer T\x01\x01", Bearer{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := test.parse([]byte(test.in))
			if got.User != test.want.User || got.Token != test.want.Token || (err == nil) != (test.want.User != "") {
				t.Errorf("got %q %q, %v", got.User, got.Token, err)
			}
		})
	}
}

func TestParsePlain(t *testing.T) {
	tests := []struct {
		in, user, password string
	}{
		{"\x00u\x00p", "u", "p"},
		{"u\x00u\x00p", "u", "p"},
		{"\x00u\x00", "u", ""},
		{"other\x00u\x00p", "", ""},
		{"\x00\x00p", "", ""},
		{"u\x00p", "", ""},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%q", test.in), func(t *testing.T) {
			user, password, err := ParsePlain([]byte(test.in))
			if user != test.user || password != test.password || (err == nil) != (test.user != "") {
				t.Errorf("got %q %q, %v", user, password, err)
			}
		})
	}
}

func TestBearerDoesNotPrintItsToken(t *testing.T) {
	b := Bearer{"a@b.c", "hunter2"}
	if s := fmt.Sprintf("%v %+v %#v %s", b, b, &b, b); strings.Contains(s, "hunter2") {
		t.Error(s)
	}
}

var errNo = errors.New("no")

func TestTokenServer(t *testing.T) {
	response := []byte("user=a\x01auth=Bearer T\x01\x01")
	t.Run("two steps", func(t *testing.T) {
		s := Token(ParseXOAUTH2, errNo, func(Bearer) *Verdict { return nil })
		if c, done, err := s.Next(nil); c != nil || done || err != nil {
			t.Errorf("ask: %q %t %v", c, done, err)
		}
		if _, done, err := s.Next(response); !done || err != nil {
			t.Errorf("answer: %t %v", done, err)
		}
	})
	t.Run("challenge before the refusal", func(t *testing.T) {
		s := Token(ParseXOAUTH2, nil, func(Bearer) *Verdict { return &Verdict{"{}", errNo} })
		if c, done, err := s.Next(response); string(c) != "{}" || done || err != nil {
			t.Errorf("challenge: %q %t %v", c, done, err)
		}
		if _, done, err := s.Next([]byte{1}); done || err != errNo {
			t.Errorf("refusal: %t %v", done, err)
		}
	})
	t.Run("refusal at once", func(t *testing.T) {
		s := Token(ParseXOAUTH2, nil, func(Bearer) *Verdict { return &Verdict{Err: errNo} })
		if _, done, err := s.Next(response); done || err != errNo {
			t.Errorf("refusal: %t %v", done, err)
		}
	})
	t.Run("malformed", func(t *testing.T) {
		s := Token(ParseXOAUTH2, ErrMalformed, func(Bearer) *Verdict { return nil })
		if _, done, err := s.Next([]byte("x")); done || err != ErrMalformed {
			t.Errorf("refusal: %t %v", done, err)
		}
	})
}

func TestLoginServer(t *testing.T) {
	check := func(user, password string) error {
		if user != "u" || password != "p" {
			return errNo
		}
		return nil
	}
	for name, responses := range map[string][][]byte{"asked": {nil, []byte("u"), []byte("p")}, "user at once": {[]byte("u"), []byte("p")}} {
		t.Run(name, func(t *testing.T) {
			s := LoginServer(check)
			for i, r := range responses {
				_, done, err := s.Next(r)
				if err != nil || done != (i == len(responses)-1) {
					t.Errorf("step %d: %t %v", i, done, err)
				}
			}
		})
	}
}

func FuzzParseXOAUTH2(f *testing.F) {
	f.Add([]byte("user=a@b.c\x01auth=Bearer T\x01\x01"))
	f.Fuzz(func(t *testing.T, b []byte) { whole(t, ParseXOAUTH2, b) })
}

func FuzzParseOAuthBearer(f *testing.F) {
	f.Add([]byte("n,a=a@b.c,\x01host=h\x01port=1\x01auth=Bearer T\x01\x01"))
	f.Fuzz(func(t *testing.T, b []byte) { whole(t, ParseOAuthBearer, b) })
}

func whole(t *testing.T, parse func([]byte) (Bearer, error), b []byte) {
	if got, err := parse(b); (err == nil) != (got.User != "" && got.Token != "") {
		t.Errorf("%q: user %q, %d bytes of token, %v", b, got.User, len(got.Token), err)
	}
}

func FuzzParsePlain(f *testing.F) {
	f.Add([]byte("\x00u\x00p"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if user, _, err := ParsePlain(b); (err == nil) != (user != "") {
			t.Errorf("%q: %q, %v", b, user, err)
		}
	})
}
