// Package setup reads a worker's file and opens what it names. It is the same file for every worker; a worker that moves
// mail in has no use for an intake, and one that moves mail out none for sinks, so each says what it takes.
package setup

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"mailporter/kit/config"
	"mailporter/kit/daemon"
	"mailporter/kit/secret"
	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/wire"
)

// Kind says which half of a worker a file is for.
type Kind int

// The halves.
const (
	Inbound  Kind = iota // takes sinks
	Outbound             // takes intake and retry
)

// Config is what the file says.
type Config struct {
	Broker tokenclient.Config
	State  State
	Admin  string // listen address of HTTP: /metrics /livez /readyz; empty = none
	Roots  *x509.CertPool
	Sinks  map[string]Sink // by name; one is called default
	Intake SMTPIntake
	Retry  Retry
}

// State says where the worker keeps what it must not forget: exactly one is set.
type State struct {
	Folder string
	Redis  string // URL
}

// Sink is one place that mail is delivered to.
type Sink struct {
	Maildir string // path; {mailbox} in it stands for the mailbox's address
}

// SMTPIntake is the submission listener.
type SMTPIntake struct {
	Listen            string
	Hostname          string
	TLS               daemon.TLSFiles // Certificate empty = none; CA empty = no client certificates
	ImplicitTLS       bool
	Allow             []netip.Prefix // who may submit without login; nil = loopback
	Users             []User
	MaximumSize       int64
	MaximumRecipients int
}

// User may submit after AUTH.
type User struct {
	Name     string
	Password secret.Ref
}

// Retry says how long a message is tried.
type Retry struct {
	GiveUp time.Duration
}

// The defaults. Five days: RFC 5321 section 4.5.4.1 asks for at least four.
const (
	defaultGiveUp     = 5 * 24 * time.Hour
	defaultSize       = 150 << 20
	defaultRecipients = 1000
)

// Load reads the file and says all that is wrong with it.
func Load(path string, kind Kind) (Config, config.Complaints) {
	doc := config.Read(path)
	c := read(doc.Root(), kind)
	return c, doc.Complaints()
}

func read(root *config.Map, kind Kind) Config {
	c := Config{Broker: readBroker(root.Map("broker")), State: readState(root), Admin: root.Address("admin", ""), Roots: readRoots(root)}
	if kind == Inbound {
		c.Sinks = readSinks(root)
	} else {
		c.Intake = readIntake(root)
		retry := root.Map("retry")
		c.Retry.GiveUp = retry.Clock("give-up", defaultGiveUp, time.Minute, 30*24*time.Hour)
		retry.Done()
	}
	root.Done()
	return c
}

func readBroker(m *config.Map) tokenclient.Config {
	c := tokenclient.Config{Address: m.Require("address", `name the broker: "dns:///broker.example:9443"`), Insecure: m.Bool("insecure", false)}
	if !c.Insecure {
		c.TLS = daemon.ReadTLS(m.Map("tls"), "ca")
	} else if m.Has("tls") {
		m.Complain("insecure", "contradicts tls", "remove one of them")
	}
	m.Done()
	return c
}

var redisSchemes = []string{"redis", "rediss", "redis+sentinel", "redis+cluster"}

const stateRemedy = "write file:DIR for one process, or redis://host:6379/0 for a fleet"

func readState(root *config.Map) State {
	s := root.Require("state", stateRemedy)
	scheme, rest, _ := strings.Cut(s, ":")
	switch {
	case s == "":
	case scheme == "file" && rest != "":
		return State{Folder: writable(root, "state", relative(root, rest))}
	case scheme == "file":
		root.Complain("state", "names no folder", stateRemedy)
	default:
		for _, known := range redisSchemes {
			if u, err := url.Parse(s); err == nil && scheme == known && u.Host != "" {
				return State{Redis: s}
			}
		}
		root.Complain("state", fmt.Sprintf("%q is no place to keep state", scheme+":"), stateRemedy) // not the whole: it may hold a password
	}
	return State{}
}

// relative resolves a path against the folder of the configuration file.
func relative(m *config.Map, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(m.File()), path)
}

// writable complains about a folder that could not be made or written to. It makes nothing.
func writable(m *config.Map, key, path string) string {
	at := path
	for {
		info, err := os.Stat(at)
		if err == nil && !info.IsDir() {
			m.Complain(key, at+" is no folder", "name another one")
			return path
		}
		if err == nil {
			break
		}
		if !errors.Is(err, os.ErrNotExist) || filepath.Dir(at) == at {
			m.Complain(key, fmt.Sprintf("%s cannot be used: %v", path, err), "name a folder that the worker may write to")
			return path
		}
		at = filepath.Dir(at)
	}
	if err := access(at); err != nil {
		m.Complain(key, fmt.Sprintf("%s cannot be written to: %v", at, err), "let the worker's user write there, or name another folder")
	}
	return path
}

func readRoots(root *config.Map) *x509.CertPool {
	var pems [][]byte
	for _, path := range root.Paths("trusted-ca") {
		b, err := os.ReadFile(path)
		if err == nil {
			_, err = wire.Roots(b)
		}
		if err != nil {
			root.Complain("trusted-ca", fmt.Sprintf("%s: %v", path, err), "name PEM files of certificates")
			continue
		}
		pems = append(pems, b)
	}
	pool, err := wire.Roots(pems...)
	if err != nil {
		root.Complain("trusted-ca", err.Error(), "name PEM files of certificates")
	}
	return pool
}

// Dial prepares the client of the broker.
func (c Config) Dial(f *daemon.Frame) (*tokenclient.Client, error) {
	broker := c.Broker
	broker.Metrics = f.Metrics
	return tokenclient.Dial(broker, f.Log)
}

// Open opens the state. Close it when done.
func (s State) Open(ctx context.Context, log *slog.Logger) (Store, error) {
	if s.Redis != "" {
		return openRedis(ctx, s.Redis, log)
	}
	return openFile(s.Folder)
}
