package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"sandbox": main}) }

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:   "testdata",
		Setup: freePort,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"get":       get,
			"await":     await,
			"terminate": terminate,
		},
	})
}

// freePort writes a free port where conf/sandbox.yaml says PORT, and the URL of that port into ADMIN.
func freePort(env *testscript.Env) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err := errors.Join(err, l.Close()); err != nil {
		return err
	}
	env.Setenv("ADMIN", "http://127.0.0.1:"+port)
	path := filepath.Join(env.WorkDir, "conf", "sandbox.yaml")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a script without one
	}
	return errors.Join(err, os.WriteFile(path, bytes.ReplaceAll(b, []byte("PORT"), []byte(port)), 0o600))
}

// terminate sends SIGTERM to all background programs: kill knows only SIGINT and SIGKILL.
func terminate(ts *testscript.TestScript, _ bool, _ []string) {
	for _, c := range ts.BackgroundCmds() {
		ts.Check(c.Process.Signal(syscall.SIGTERM))
	}
}

// await FILE TEXT waits until a background program has written TEXT to FILE.
func await(ts *testscript.TestScript, _ bool, args []string) {
	poll(ts, func() bool {
		b, err := os.ReadFile(ts.MkAbs(args[0]))
		return err == nil && strings.Contains(string(b), args[1])
	})
}

// get URL TEXT waits until the URL answers 200 with TEXT in it.
func get(ts *testscript.TestScript, _ bool, args []string) {
	poll(ts, func() bool {
		resp, err := http.Get(args[0])
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return err == nil && resp.StatusCode == http.StatusOK && strings.Contains(string(b), args[1])
	})
}

func poll(ts *testscript.TestScript, done func() bool) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			ts.Fatalf("waited in vain")
		}
	}
}
