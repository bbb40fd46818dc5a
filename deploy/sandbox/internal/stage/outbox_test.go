package stage

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// script writes a program that stands in for brokerctl.
func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "brokerctl")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil { //nolint:gosec // it is to be run
		t.Fatal(err)
	}
	return path
}

func TestOutbox(t *testing.T) {
	seen := filepath.Join(t.TempDir(), "seen")
	o := Outbox{script(t, `echo "$@"; if test -e `+seen+`; then echo 550 5.1.1 no such user; fi; touch `+seen), "127.0.0.1:9"}
	if got, err := o.Ask(t.Context(), "retry", "7"); err != nil || got != "outbox --worker 127.0.0.1:9 retry 7\n" {
		t.Errorf("%q, %v", got, err)
	}
	if err := os.Remove(seen); err != nil {
		t.Fatal(err)
	}
	got, err := o.Dead(t.Context(), "550 5.1.1")
	if err != nil || !strings.HasPrefix(got, "outbox --worker 127.0.0.1:9 list --state dead\n") {
		t.Errorf("%q, %v", got, err)
	}
	refuses := Outbox{script(t, "echo the worker is away >&2; exit 1"), "127.0.0.1:9"}
	if _, err := refuses.Dead(t.Context(), "550"); err == nil || !strings.Contains(err.Error(), "outbox list: exit status 1: the worker is away") {
		t.Errorf("%v", err)
	}
}
