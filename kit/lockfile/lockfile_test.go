package lockfile

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestOneHolder(t *testing.T) {
	dir := t.TempDir()
	first, err := Take(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Take(dir); !errors.Is(err, ErrHeld) || !strings.Contains(err.Error(), dir+" is in use by process "+fmt.Sprint(os.Getpid())) {
		t.Fatalf("a second one took it: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Take(dir)
	if err != nil {
		t.Fatalf("it was not given back: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestNoFolder(t *testing.T) {
	if _, err := Take(t.TempDir() + "/none"); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
}
