package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mailporter/broker/internal/store/seal"
)

func brokerctl(args ...string) (code int, out string) {
	var stdout, stderr strings.Builder
	code = run(args, &stdout, &stderr)
	return code, stdout.String() + stderr.String()
}

func TestKeysetNew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets", "keyset.json")
	if code, out := brokerctl("keyset", "new", path); code != 0 || !strings.Contains(out, "a new keyset") {
		t.Fatalf("exit %d: %s", code, out)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v: want a file for its owner alone", info, err)
	}
	if _, err := seal.Open(path); err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	code, out := brokerctl("keyset", "new", path)
	after, err := os.ReadFile(path)
	if err != nil || code != 1 || !strings.Contains(out, "exists and was left") || string(before) != string(after) {
		t.Fatalf("exit %d, %v: %s; want the old file untouched", code, err, out)
	}
}

func TestKeysetRotate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keyset.json")
	for _, tc := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"keyset", "rotate", path}, 1, "no such file"},
		{[]string{"keyset", "new", path}, 0, "a new keyset"},
		{[]string{"keyset", "rotate", "--promote", path}, 1, "the newest key is the one that seals already"},
		{[]string{"keyset", "rotate", path}, 0, "has a new key"},
		{[]string{"keyset", "rotate", "--promote", path}, 0, "seals with its newest key"},
	} {
		if code, out := brokerctl(tc.args...); code != tc.code || !strings.Contains(out, tc.want) {
			t.Fatalf("%v: exit %d: %s", tc.args, code, out)
		}
	}
}

func TestUsage(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		code int
		want string
	}{
		"help":            {[]string{"-h"}, 0, "keyset"},
		"keyset alone":    {[]string{"keyset"}, 0, "make a keyset"},
		"no file":         {[]string{"keyset", "new"}, 2, "accepts 1 arg"},
		"unknown command": {[]string{"mailbx"}, 2, "unknown command"},
		"unknown flag":    {[]string{"keyset", "new", "-x", "f"}, 2, "unknown shorthand flag"},
		"completion":      {[]string{"completion", "bash"}, 0, "brokerctl"},
		"no such folder":  {[]string{"keyset", "new", "/dev/null/x/keyset.json"}, 1, "make keyset"},
	} {
		t.Run(name, func(t *testing.T) {
			if code, out := brokerctl(tc.args...); code != tc.code || !strings.Contains(out, tc.want) {
				t.Fatalf("exit %d, want %d: %s", code, tc.code, out)
			}
		})
	}
}

func TestHost(t *testing.T) {
	for address, want := range map[string]string{"localhost:9443": "localhost", "127.0.0.1:9443": "127.0.0.1", "[::1]:9443": "::1", "dns:///broker.example:9443": "broker.example",
		"dns://192.0.2.1/broker.example:9443": "broker.example", "broker.example": "broker.example", "[::1]": "::1"} {
		if got := (&target{address: address}).host(); got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
}
