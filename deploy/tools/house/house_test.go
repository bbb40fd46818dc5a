package house

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheHouse holds every package of the workspace against the rules.
func TestTheHouse(t *testing.T) {
	root := filepath.Join("..", "..", "..")
	for _, dir := range []string{"kit", "broker", "workers", "deploy/sandbox"} {
		packages := list(t, filepath.Join(root, dir))
		if len(packages) == 0 {
			t.Errorf("%s: no packages", dir)
		}
		for _, p := range packages {
			for _, fault := range Judge(p) {
				t.Error(fault)
			}
		}
	}
}

func list(t *testing.T, dir string) []Package {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "./...")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list in %s: %s", dir, exit.Stderr)
		}
		t.Fatal(err)
	}
	var all []Package
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, Package{p.ImportPath, p.Imports})
	}
}

// TestJudge breaks every rule once.
func TestJudge(t *testing.T) {
	const w, b = "mailporter/workers/internal/", "mailporter/broker/internal/"
	for name, tc := range map[string]struct {
		from, to string
		ok       bool
	}{
		"edge to engine":         {w + "imap", w + "inbound", true},
		"edge to word":           {w + "imap", w + "sasl", true},
		"edge to edge":           {w + "imap", w + "smtp", false},
		"engine to edge":         {w + "inbound", w + "imap", false},
		"engine to engine":       {w + "inbound", w + "outbound", false},
		"word to word":           {w + "sasl", w + "mail", true},
		"word to engine":         {w + "mail", w + "inbound", false},
		"main to edge":           {"mailporter/workers/cmd/imap-worker", w + "imap", true},
		"suite of an engine":     {w + "inbound/inboundtest", w + "inbound", true},
		"workers to broker":      {w + "imap", b + "token", false},
		"broker to workers":      {b + "keeper", w + "mail", false},
		"kit to broker":          {"mailporter/kit/daemon", b + "token", false},
		"workers to gen":         {w + "imap", "mailporter/gen/mailporter/broker/v1", false},
		"service to gen":         {b + "service", "mailporter/gen/mailporter/broker/v1", true},
		"redis in an engine":     {b + "keeper", "github.com/redis/go-redis/v9", false},
		"redis in its edge":      {b + "store/redis", "github.com/redis/go-redis/v9", true},
		"stdlib":                 {b + "token", "time", true},
		"service to directory":   {b + "service", b + "directory", true},
		"grant to store":         {b + "grant/google", b + "store/file", false},
		"a room nobody declared": {w + "attic", w + "mail", false},
	} {
		t.Run(name, func(t *testing.T) {
			faults := Judge(Package{tc.from, []string{tc.to}})
			if (len(faults) == 0) != tc.ok {
				t.Fatalf("faults %v, want ok=%v", faults, tc.ok)
			}
		})
	}
}
