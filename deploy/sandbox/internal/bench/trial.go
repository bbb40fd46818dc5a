package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"text/template"
	"time"
)

// trial is one run of a program that is measured, and what its configuration asks for.
type trial struct {
	*bench
	Dir string // all that the program writes; new

	Identity string // of a worker
	State    string // of one that sends

	Account, Protocol string // of a peer
	Port              int
}

// outcome is what a trial did.
type outcome struct {
	moved int // messages in its Maildirs
	took  time.Duration
	cut   bool // it was stopped before its end; took is the time to its last message
}

// rate is messages a second.
func (o outcome) rate() float64 { return float64(o.moved) / o.took.Seconds() }

// trial makes the folder of one and writes what earlier ones left in memory to the disk, so that no program pays for another.
func (b *bench) trial() (*trial, error) {
	b.runs++
	t := &trial{bench: b, Dir: filepath.Join(b.Target, fmt.Sprint(b.runs))}
	if err := os.Mkdir(t.Dir, 0o755); err != nil {
		return nil, err
	}
	syscall.Sync()
	return t, nil
}

// Password is that of every account at Dovecot.
func (t *trial) Password() (string, error) { return t.Secret("account") }

// Base is the name of the folder.
func (t *trial) Base() string { return filepath.Base(t.Dir) }

// CA is the file of the CA that signed Dovecot's certificate, where every user may read it.
func (t *trial) CA() string { return filepath.Join(t.Dir, "ca.pem") }

// configure fills in a template of runs and returns the file's path. Only its owner may read it: some programs insist.
func (t *trial) configure(name string) (string, error) {
	ca, err := os.ReadFile(t.Path("tls/ca.pem"))
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(t.CA(), ca, 0o644); err != nil {
		return "", err
	}
	text, err := template.ParseFS(runFiles, "runs/"+name)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	if err := text.Execute(&b, t); err != nil {
		return "", err
	}
	path := filepath.Join(t.Dir, name)
	return path, os.WriteFile(path, b.Bytes(), 0o600)
}

// count counts the messages in all Maildirs below a folder, and says when the last one was written.
func count(dir string) (n int, last time.Time, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // moved from new to cur meanwhile
		}
		in := filepath.Base(filepath.Dir(path))
		if err != nil || !d.Type().IsRegular() || in != "new" && in != "cur" || strings.HasPrefix(d.Name(), ".") {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		n++
		if info.ModTime().After(last) {
			last = info.ModTime()
		}
		return nil
	})
	return n, last, err
}
