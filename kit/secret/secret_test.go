package secret

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const marker = "MARKER-5f2a"

type holder struct {
	Public  String
	private String
	nested  struct{ deep []String }
}

func TestNeverPrints(t *testing.T) {
	s := New(marker)
	h := holder{Public: s, private: s}
	h.nested.deep = []String{s}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("m", "s", s, "h", h, "p", &h)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "s", s, "h", h, "p", &h)
	asJSON, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	out := log.String() + string(asJSON)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%T"} {
		out += fmt.Sprintf(verb, s) + fmt.Sprintf(verb, h) + fmt.Sprintf(verb, &h) + fmt.Sprintf(verb, map[string]any{"k": h})
	}
	out += fmt.Errorf("wrapped %v %w", Ref{Literal: s}, fmt.Errorf("%v", h)).Error()
	if strings.Contains(out, marker) || strings.Contains(out, fmt.Sprintf("%x", marker)) {
		t.Fatalf("the secret was printed: %s", out)
	}
	if !strings.Contains(out, redacted) {
		t.Fatal("nothing was printed in its place")
	}
}

func TestRevealAndEqual(t *testing.T) {
	if New(marker).Reveal() != marker || !New(marker).Equal(New(marker)) || New(marker).Equal(New("x")) {
		t.Fatal("value lost")
	}
	var zero String
	if !zero.Empty() || zero.Reveal() != "" || !zero.Equal(New("")) {
		t.Fatal("zero value is not the empty secret")
	}
}

func TestRefReads(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Setenv("MAILPORTER_TEST_SECRET", marker)
	for name, tc := range map[string]struct {
		ref  Ref
		want string
		err  string
	}{
		"file":             {ref: Ref{File: write("a", marker)}, want: marker},
		"file with LF":     {ref: Ref{File: write("b", marker+"\n")}, want: marker},
		"file with CRLF":   {ref: Ref{File: write("c", marker+"\r\n")}, want: marker},
		"inner blanks":     {ref: Ref{File: write("d", " a b \n")}, want: " a b "},
		"empty file":       {ref: Ref{File: write("e", "\n")}, err: "is empty"},
		"missing file":     {ref: Ref{File: filepath.Join(dir, "none")}, err: "no such file"},
		"huge file":        {ref: Ref{File: write("f", strings.Repeat("x", maxFile+1))}, err: "larger than"},
		"environment":      {ref: Ref{Env: "MAILPORTER_TEST_SECRET"}, want: marker},
		"unset":            {ref: Ref{Env: "MAILPORTER_TEST_UNSET"}, err: "MAILPORTER_TEST_UNSET is not set"},
		"literal":          {ref: Ref{Literal: New(marker)}, want: marker},
		"nothing":          {ref: Ref{}, err: "no secret is named"},
		"literal is empty": {ref: Ref{Literal: New("")}, want: ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := tc.ref.Read()
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) || strings.Contains(err.Error(), marker) {
					t.Fatalf("error %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil || got.Reveal() != tc.want {
				t.Fatalf("got %q, %v", got.Reveal(), err)
			}
		})
	}
}
