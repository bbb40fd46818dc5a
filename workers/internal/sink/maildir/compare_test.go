package maildir

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/mail"
)

const original = "Message-ID: <1@x>\r\nSubject: a long\r\n subject\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n\r\nx\r\n--a--\r\n"

// TestKeysThatAreNoGood: two messages under one key are both kept, one message that was built anew is not doubled.
func TestKeysThatAreNoGood(t *testing.T) {
	for name, tc := range map[string]struct {
		second string
		want   int
	}{
		"the same bytes":               {original, 1},
		"built anew by the server":     {"Message-ID: <1@x>\r\nSubject:  a\r\n\tlong subject\r\nContent-Type: multipart/mixed;\r\n boundary=other\r\n\r\n--other\r\n\r\nx\r\n--other--\r\n", 1},
		"another signature":            {strings.Replace(original, "Subject", "DKIM-Signature: z\r\nSubject", 1), 2},
		"another subject":              {strings.Replace(original, "long", "tall", 1), 2},
		"no header":                    {"\r\nx\r\n", 2},
		"nothing at all":               {"", 2},
		"no line end and no blank one": {"x", 2},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for range 2 { // again, as after a crash
				sink := open(t, dir)
				for _, body := range []string{original, tc.second} {
					it := inbound.Item{Key: "k"}
					if err := sink.Put(t.Context(), mail.Folder{Mailbox: "a@x", Name: "INBOX"}, it, mail.Bytes(body)); err != nil {
						t.Fatal(err)
					}
				}
			}
			if got := files(t, dir, "new"); len(got) != tc.want {
				t.Fatalf("%d files, want %d", len(got), tc.want)
			}
		})
	}
}

// TestAKeyIsKnownInCur: a message that a mail program has read is compared where it lies now.
func TestAKeyIsKnownInCur(t *testing.T) {
	dir := t.TempDir()
	put := func(body string) {
		t.Helper()
		if err := open(t, dir).Put(t.Context(), mail.Folder{Mailbox: "a@x", Name: "INBOX"}, inbound.Item{Key: "k"}, mail.Bytes(body)); err != nil {
			t.Fatal(err)
		}
	}
	put(original)
	path := files(t, dir, "new")[0]
	if err := os.Rename(path, filepath.Join(dir, "cur", fmt.Sprintf("%s:2,S", filepath.Base(path)))); err != nil {
		t.Fatal(err)
	}
	put(original)
	put("Subject: another\r\n\r\n")
	if n, c := len(files(t, dir, "new")), len(files(t, dir, "cur")); n != 1 || c != 1 {
		t.Fatalf("%d in new and %d in cur, want one each", n, c)
	}
}

func FuzzHeader(f *testing.F) {
	for _, seed := range []string{original, "", "\n", " folded", "a: b", "Content-Type: x\r\n y\r\nz: 1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		one, err := header(strings.NewReader(s))
		if err != nil {
			t.Fatal(err)
		}
		if two, _ := header(strings.NewReader(strings.ReplaceAll(s, "\r\n ", "\r\n\t"))); one != two {
			t.Fatalf("folding counts: %q and %q", one, two)
		}
	})
}
