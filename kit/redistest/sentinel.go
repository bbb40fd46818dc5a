package redistest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// master is what the Sentinels call what they watch.
const master = "mailporter"

// Sentinel is a primary with two replicas, and three Sentinels that watch them. One goroutine at a time.
type Sentinel struct {
	t        testing.TB
	nodes    []*Server
	watchers []*Server
}

// StartSentinel runs them until the test ends; more arguments go to the three that keep data. When it returns, both
// replicas have a copy and the Sentinels know of everything.
func StartSentinel(t testing.TB, args ...string) *Sentinel {
	t.Helper()
	args = append([]string{"--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"}, args...)
	primary := Start(t, args...)
	s := &Sentinel{t: t, nodes: []*Server{primary}}
	for range 2 {
		s.nodes = append(s.nodes, Start(t, append([]string{"--replicaof", "127.0.0.1 " + primary.port()}, args...)...))
	}
	s.awaitCopies(primary, 2)
	for range 3 {
		s.watchers = append(s.watchers, startWatcher(t, primary))
	}
	for _, w := range s.watchers {
		eventually(t, func() error {
			return w.says([]string{"num-slaves 2", "num-other-sentinels 2"}, "SENTINEL", "MASTER", master)
		})
	}
	return s
}

// startWatcher runs a Sentinel. It keeps what it learns in its configuration file.
func startWatcher(t testing.TB, primary *Server) *Server {
	t.Helper()
	return start(t, "Sentinel ID is", func(s *Server) []string {
		path := filepath.Join(s.dir, "sentinel.conf")
		text := fmt.Sprintf("bind 127.0.0.1\nport %s\ndir %s\nsentinel monitor %s 127.0.0.1 %s 2\nsentinel down-after-milliseconds %[3]s 1500\n"+
			"sentinel failover-timeout %[3]s 10000\n", s.port(), s.dir, master, primary.port())
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return []string{path, "--sentinel"}
	})
}

// URL is redis+sentinel://host:port,host:port,host:port/0?master=NAME.
func (s *Sentinel) URL() string {
	addresses := make([]string, len(s.watchers))
	for i, w := range s.watchers {
		addresses[i] = w.address
	}
	return "redis+sentinel://" + strings.Join(addresses, ",") + "/0?master=" + master
}

// Primary is the server that all Sentinels hold for the primary, once they agree.
func (s *Sentinel) Primary() *Server {
	s.t.Helper()
	var found *Server
	eventually(s.t, func() error {
		address := s.watchers[0].primary()
		for _, w := range s.watchers[1:] {
			if other := w.primary(); other != address {
				return fmt.Errorf("the sentinels name %s and %s", address, other)
			}
		}
		for _, n := range s.nodes {
			if n.address == address && n.running != nil {
				found = n
				return nil
			}
		}
		return fmt.Errorf("%s does not run", address)
	})
	return found
}

// primary is the address that a Sentinel gives to clients, or empty.
func (s *Server) primary() string {
	got, err := s.Do("SENTINEL", "GET-MASTER-ADDR-BY-NAME", master)
	pair, ok := got.([]any)
	if err != nil || !ok || len(pair) != 2 {
		return ""
	}
	return net.JoinHostPort(fmt.Sprint(pair[0]), fmt.Sprint(pair[1]))
}

// Replicas are the servers that run and are not the primary.
func (s *Sentinel) Replicas() (all []*Server) {
	s.t.Helper()
	primary := s.Primary()
	for _, n := range s.nodes {
		if n != primary && n.running != nil {
			all = append(all, n)
		}
	}
	return all
}

// Failover kills the primary and returns when another one is primary with all that is left as its replicas.
func (s *Sentinel) Failover() {
	s.t.Helper()
	old := s.Primary()
	old.Kill()
	next := s.Primary()
	eventually(s.t, func() error { return next.says([]string{"role:master"}, "INFO", "replication") })
	s.awaitCopies(next, s.alive()-1)
}

// Rejoin starts again what Failover killed and returns when the Sentinels have made replicas of them.
func (s *Sentinel) Rejoin() {
	s.t.Helper()
	for _, n := range s.nodes {
		if n.running == nil {
			n.Restart()
		}
	}
	s.awaitCopies(s.Primary(), s.alive()-1)
}

func (s *Sentinel) alive() (n int) {
	for _, node := range s.nodes {
		if node.running != nil {
			n++
		}
	}
	return n
}

// awaitCopies waits until so many replicas follow the primary.
func (s *Sentinel) awaitCopies(primary *Server, n int) {
	s.t.Helper()
	eventually(s.t, func() error {
		info, err := primary.Do("INFO", "replication")
		if err == nil && strings.Count(fmt.Sprint(info), "state=online") < n {
			err = errors.New("replicas are missing")
		}
		return err
	})
}

// Files returns everything that the servers have on disk, for a search through it.
func (s *Sentinel) Files() (all []byte) {
	s.t.Helper()
	for _, n := range s.nodes {
		all = append(all, n.Files()...)
	}
	return all
}
