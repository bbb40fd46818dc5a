package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"mailporter/kit/certtest"
	"mailporter/kit/daemon"
)

// runScripts makes the broker and makers of certificates and keys commands of the scripts, and looks for leaks after the other tests.
func runScripts(m *testing.M) {
	testscript.Main(afterwards{m}, map[string]func(){
		"broker":   main,
		"makecert": makeCert,
		"makekey":  makeKey,
	})
}

// afterwards runs the tests and then looks for goroutines that are still there.
type afterwards struct{ m *testing.M }

func (a afterwards) Run() int {
	code := a.m.Run()
	removeBrokerctl()
	if err := leakFree(); code == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

// makeCert writes ca.pem, broker.pem and broker-key.pem into the folder that is its argument.
func makeCert() {
	ca, err := certtest.NewCA("script")
	if err == nil {
		_, err = ca.WriteFile(os.Args[1], "ca.pem")
	}
	var pair certtest.Pair
	if err == nil {
		pair, err = ca.Issue(certtest.Options{CommonName: "broker"})
	}
	if err == nil {
		_, _, err = pair.WriteFiles(os.Args[1], "broker")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// makeKey writes the key of a service account into the file that is its argument.
func makeKey() {
	key, err := newKeyFile()
	if err == nil {
		err = os.WriteFile(os.Args[1], key, 0o600)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:  "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"await": await, "appendto": appendTo},
		Setup: func(e *testscript.Env) error {
			e.Setenv("EXAMPLE", exampleDir)
			return nil
		},
	})
}

// await waits until a file is there.
func await(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	changed := make(chan struct{}, 1)
	ended := daemon.Watch(ctx, slog.New(slog.DiscardHandler), []string{path}, func() { changed <- struct{}{} })
	if _, err := os.Stat(path); err != nil {
		select {
		case <-changed:
		case <-ctx.Done():
			ts.Fatalf("no %s", path)
		}
	}
	cancel()
	<-ended
}

// appendTo adds a line to a file.
func appendTo(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	b, err := os.ReadFile(path)
	ts.Check(err)
	ts.Check(os.WriteFile(path, append(b, args[1]+"\n"...), 0o600))
}

var exampleDir = func() string {
	dir, err := os.Getwd() // of the package
	if err != nil {
		panic(err)
	}
	return dir + "/../../example"
}()
