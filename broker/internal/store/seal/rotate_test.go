package seal

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"mailporter/broker/internal/keeper"
	"mailporter/kit/secret"
)

// TestRotationInTwoSteps: between the steps brokers with the old file and brokers with the new one read each other, and
// afterwards everything that was ever sealed still opens.
func TestRotationInTwoSteps(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyset.json")
	before, err := OpenOrMake(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := Promote(path); !errors.Is(err, ErrNothingToPromote) {
		t.Fatalf("promote without a new key: %v", err)
	}
	step := func(do func(string) error) *Sealer {
		t.Helper()
		if err := do(path); err != nil {
			t.Fatal(err)
		}
		s, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	added := step(Add)
	mustRead(t, "old by added", before, added)
	mustRead(t, "added by old", added, before)
	promoted := step(Promote)
	mustRead(t, "old by promoted", before, promoted)
	mustRead(t, "promoted by added", promoted, added)
	sealed, err := promoted.Record("c", keeper.Record{Refresh: secret.New("MARKER")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := before.OpenRecord("c", sealed); !errors.Is(err, keeper.ErrSealed) {
		t.Fatalf("the old keyset opens what the new key sealed: %v", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info.Mode(), err)
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(path), ".keyset-*"))
	if err != nil || len(left) != 0 {
		t.Fatal(left, err)
	}
}

func mustRead(t *testing.T, what string, writer, reader *Sealer) {
	t.Helper()
	sealed, err := writer.Record("c", keeper.Record{Refresh: secret.New("MARKER")})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := reader.OpenRecord("c", sealed); err != nil || r.Refresh.Reveal() != "MARKER" {
		t.Errorf("%s: %v", what, err)
	}
}

func TestRotateNoKeyset(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyset.json")
	if err := Add(path); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Add(path); err == nil {
		t.Fatal("no keyset was changed")
	}
}
