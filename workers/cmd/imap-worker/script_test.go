package main

import (
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"mailporter/kit/certtest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"imap-worker": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "testdata",
		Setup: func(e *testscript.Env) error { return example(e.WorkDir) },
		Cmds:  map[string]func(*testscript.TestScript, bool, []string){"wait-for-file": waitForFile, "terminate": terminate},
	})
}

// example puts the shipped configuration and the certificates that it names into dir.
func example(dir string) error {
	b, err := os.ReadFile("imap-worker.yaml")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "imap-worker.yaml"), b, 0o600); err != nil {
		return err
	}
	ca, err := certtest.NewCA("trial CA")
	if err != nil {
		return err
	}
	tls := filepath.Join(dir, "tls")
	if err := os.Mkdir(tls, 0o700); err != nil {
		return err
	}
	if _, err := ca.WriteFile(tls, "ca.pem"); err != nil {
		return err
	}
	pair, err := ca.Issue(certtest.Options{CommonName: "imap-worker", IP: []net.IP{net.IPv4(127, 0, 0, 1)}})
	if err != nil {
		return err
	}
	_, _, err = pair.WriteFiles(tls, "imap-worker")
	return err
}

// waitForFile waits until a file is there: the program came that far.
func waitForFile(ts *testscript.TestScript, _ bool, args []string) {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	late := time.After(30 * time.Second)
	for {
		if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			ts.Fatalf("%s never came", args[0])
		}
	}
}

// terminate sends SIGTERM to what runs in the background; testscript's own kill knows INT and KILL.
func terminate(ts *testscript.TestScript, _ bool, _ []string) {
	for _, c := range ts.BackgroundCmds() {
		ts.Check(c.Process.Signal(syscall.SIGTERM))
	}
}
