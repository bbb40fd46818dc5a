package programtest

import (
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"mailporter/kit/certtest"
)

// Scripts runs the scripts in testdata against the worker NAME, each in a folder with the shipped NAME.yaml and the
// certificates that it names. They know two commands more: "wait-for-file FILE" and "terminate" (SIGTERM to what runs in
// the background).
func Scripts(t *testing.T, name string) {
	testscript.Run(t, testscript.Params{
		Dir:   "testdata",
		Setup: func(e *testscript.Env) error { return example(e.WorkDir, name) },
		Cmds:  map[string]func(*testscript.TestScript, bool, []string){"wait-for-file": waitForFile, "terminate": terminate},
	})
}

func example(dir, name string) error {
	b, err := os.ReadFile(name + ".yaml")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, name+".yaml"), b, 0o600); err != nil {
		return err
	}
	return certificates(filepath.Join(dir, "tls"), name)
}

func certificates(dir, name string) error {
	ca, err := certtest.NewCA("trial CA")
	if err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	if _, err := ca.WriteFile(dir, "ca.pem"); err != nil {
		return err
	}
	pair, err := ca.Issue(certtest.Options{CommonName: name, IP: []net.IP{net.IPv4(127, 0, 0, 1)}})
	if err != nil {
		return err
	}
	_, _, err = pair.WriteFiles(dir, name)
	return err
}

// waitForFile waits until a file is there: the program came that far.
func waitForFile(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	if !eventually(func() bool { _, err := os.Stat(path); return err == nil }) {
		ts.Fatalf("%s never came", args[0])
	}
}

// terminate sends SIGTERM; testscript's own kill knows INT and KILL.
func terminate(ts *testscript.TestScript, _ bool, _ []string) {
	for _, c := range ts.BackgroundCmds() {
		ts.Check(c.Process.Signal(syscall.SIGTERM))
	}
}
