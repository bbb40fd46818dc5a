// Package redistest runs real redis-servers for a test: on free loopback ports, in folders of their own, with every write
// synced to the append-only file. Kill is what a power cut is; Restart brings the same data back on the same port.
//
//	r := redistest.Start(t)
//	client := redis.NewClient(&redis.Options{Addr: r.Addr()})
//	r.Kill()    // connections are cut, nothing is flushed
//	r.Restart() // ready when it returns
//
// StartSentinel runs a primary with replicas and Sentinels, StartCluster a cluster whose slots move while it is in use. All
// of them die with the test, and with its process.
//
// The binary comes from Debian's package redis-server, which `make test` installs.
package redistest

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailporter/kit/certtest"
)

// Server is one redis-server process. Its methods fail the test when they cannot do their work; one goroutine at a time.
type Server struct {
	t       testing.TB
	binary  string
	dir     string
	address string
	args    func(s *Server) []string // of the command line, asked at every start
	ready   string                   // what its log says once it serves
	tls     *tls.Config              // of clients; nil: it speaks without
	running *process
}

// process is one life of the server.
type process struct {
	cmd  *exec.Cmd
	gone chan struct{} // closed when it was waited for
}

// Start runs a server until the test ends. More arguments go to redis-server as they are, after the defaults:
// "--maxmemory-policy", "allkeys-lru".
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	return start(t, "Ready to accept connections", func(s *Server) []string { return append(s.defaults(), args...) })
}

// StartTLS is Start for a server that speaks TLS only, with a certificate of that authority. Trust ca.Pool().
func StartTLS(t testing.TB, ca *certtest.CA, args ...string) *Server {
	t.Helper()
	pair, err := ca.Issue(certtest.Options{CommonName: "redis", IP: []net.IP{net.IPv4(127, 0, 0, 1)}})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := map[string][]byte{"cert.pem": pair.Certificate, "key.pem": pair.Key, "ca.pem": ca.PEM()}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := start(t, "Ready to accept connections", func(s *Server) []string {
		return slices.Concat(s.defaults(), []string{"--port", "0", "--tls-port", s.port(), "--tls-auth-clients", "no", "--tls-cert-file", filepath.Join(dir, "cert.pem"),
			"--tls-key-file", filepath.Join(dir, "key.pem"), "--tls-ca-cert-file", filepath.Join(dir, "ca.pem")}, args)
	})
	s.tls = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: ca.Pool()}
	return s
}

func start(t testing.TB, ready string, args func(*Server) []string) *Server {
	t.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatal("redis-server is not installed: run `make test`, or apt-get install redis-server")
	}
	s := &Server{t: t, binary: binary, dir: t.TempDir(), args: args, ready: ready}
	t.Cleanup(s.kill)
	if err := s.startSomewhere(); err != nil {
		t.Fatal(err)
	}
	return s
}

// port is the last part of the address.
func (s *Server) port() string {
	_, port, _ := net.SplitHostPort(s.address)
	return port
}

// defaults are the arguments of every server that keeps data.
func (s *Server) defaults() []string {
	return []string{"--bind", "127.0.0.1", "--port", s.port(), "--dir", s.dir, "--appendonly", "yes", "--appendfsync", "always",
		"--save", "", "--maxmemory-policy", "noeviction", "--daemonize", "no"}
}

// Addr is host:port. It stays the same over Restart.
func (s *Server) Addr() string { return s.address }

// URL is redis://host:port/0, or rediss:// for one that speaks TLS.
func (s *Server) URL() string { return s.URLOf("", "") }

// URLOf is URL with a user and a password in it.
func (s *Server) URLOf(user, password string) string {
	u := url.URL{Scheme: "redis", Host: s.address, Path: "/0"}
	if s.tls != nil {
		u.Scheme = "rediss"
	}
	if user != "" {
		u.User = url.UserPassword(user, password)
	}
	return u.String()
}

// Dir holds the server's files: appendonlydir and dump.rdb.
func (s *Server) Dir() string { return s.dir }

// Kill ends the server as a power cut would (SIGKILL) and returns when it is gone.
func (s *Server) Kill() {
	s.t.Helper()
	if s.running == nil {
		s.t.Fatal("redistest: killed twice")
	}
	s.kill()
}

// Stop freezes the server (SIGSTOP): its connections stay open and nothing is answered, until Continue.
func (s *Server) Stop() { s.signal(syscall.SIGSTOP) }

// Continue thaws a server that Stop froze.
func (s *Server) Continue() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if s.running == nil {
		s.t.Fatalf("redistest: %v to a server that does not run", sig)
	}
	if err := s.running.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// Restart starts a killed server again with what its files hold and returns when it serves.
func (s *Server) Restart() {
	s.t.Helper()
	if s.running != nil {
		s.t.Fatal("redistest: restart of a running server; call Kill first")
	}
	if err := s.launch(); err != nil {
		s.t.Fatal(err)
	}
}

// Files returns everything that the server has on disk, for a search through it.
func (s *Server) Files() []byte {
	s.t.Helper()
	var all []byte
	err := filepath.WalkDir(s.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all = append(all, b...)
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return all
}

func (s *Server) kill() {
	if s.running == nil {
		return
	}
	_ = s.running.cmd.Process.Kill() // it may be gone already: the wait tells
	<-s.running.gone
	s.running = nil
}

// startSomewhere tries several ports: between our choosing one and redis binding it somebody else may have come.
func (s *Server) startSomewhere() error {
	var errs []error
	for range 5 {
		port, err := freePort()
		if err != nil {
			return err
		}
		s.address = net.JoinHostPort("127.0.0.1", port)
		if err = s.launch(); err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

func (s *Server) launch() error {
	cmd := exec.Command(s.binary, s.args(s)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // a test that panics runs no cleanup
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start redis-server: %w", err)
	}
	p := &process{cmd: cmd, gone: make(chan struct{})}
	ready := make(chan error, 1)
	go p.follow(out, s.ready, ready)
	if err := await(ready); err != nil {
		_ = cmd.Process.Kill()
		<-p.gone
		return err
	}
	s.running = p
	return nil
}

func await(ready <-chan error) error {
	select {
	case err := <-ready:
		return err
	case <-time.After(20 * time.Second):
		return errors.New("redis-server was not ready within 20 s")
	}
}

// follow reads the log until the process ends: a full pipe would block the server.
func (p *process) follow(out io.Reader, sign string, ready chan<- error) {
	defer close(p.gone)
	var seen strings.Builder
	told := false
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if told {
			continue
		}
		seen.WriteString(lines.Text() + "\n")
		if strings.Contains(lines.Text(), sign) {
			told = true
			ready <- nil
		}
	}
	err := p.cmd.Wait()
	if !told {
		ready <- fmt.Errorf("redis-server ended: %w\n%s", err, seen.String())
	}
}
