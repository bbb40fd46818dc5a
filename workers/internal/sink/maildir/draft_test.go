package maildir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestDrafts: with a name and without one, a draft takes a name that is free, replaces nothing, and leaves nothing in tmp.
func TestDrafts(t *testing.T) {
	named := func(tmp string) (draft, error) {
		f, err := os.CreateTemp(tmp, tmpPrefix+"*")
		return draft{f, true}, err
	}
	for name, make := range map[string]func(string) (draft, error){"as the file system can": newDraft, "named": named} {
		t.Run(name, func(t *testing.T) {
			tmp, to := t.TempDir(), filepath.Join(t.TempDir(), "message")
			for _, content := range []string{"first", "second"} {
				d, err := make(tmp)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := d.file.WriteString(content); err != nil {
					t.Fatal(err)
				}
				if err := d.link(to); (content == "second") != errors.Is(err, fs.ErrExist) {
					t.Errorf("%s: %v", content, err)
				}
				if err := d.drop(); err != nil {
					t.Error(err)
				}
			}
			if b, err := os.ReadFile(to); err != nil || string(b) != "first" {
				t.Errorf("%q, %v", b, err)
			}
			if left, err := os.ReadDir(tmp); err != nil || len(left) > 0 {
				t.Errorf("left in tmp: %v, %v", left, err)
			}
		})
	}
}
