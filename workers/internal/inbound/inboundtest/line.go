package inboundtest

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"sync"
	"testing"

	"mailporter/kit/certtest"
)

// way is a direction on a line.
type way int

const (
	fromServer way = iota
	fromClient
)

func (w way) String() string { return [...]string{"from the server", "from the client"}[w] }

// whole says that a line is never cut.
const whole = -1

// A line stands between a Source and its server, ends TLS on both sides, and breaks once: after so many bytes of what is
// said within TLS in one direction, over all connections together. The connection that says the byte behind them is gone
// for both sides without a goodbye. What comes later passes.
type line struct {
	listener net.Listener
	server   string
	trust    *tls.Config // for the server
	way      way
	after    int // bytes; whole = never

	mu     sync.Mutex
	passed [2]int // bytes, by way
	broken bool
	open   map[net.Conn]bool // all sockets
	closed bool
	ends   sync.WaitGroup
}

// exchange has what lines of one test have in common: making a key takes longer than a session.
type exchange struct {
	server string
	trust  *tls.Config
	own    tls.Certificate
	roots  *x509.CertPool // whom a Source must trust
}

// newExchange makes lines to a server that has a certificate for localhost from one of roots.
func newExchange(t *testing.T, server string, roots *x509.CertPool) *exchange {
	t.Helper()
	ca, err := certtest.NewCA("line")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Issue(certtest.Options{DNS: []string{"localhost"}})
	if err != nil {
		t.Fatal(err)
	}
	own, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	return &exchange{server: server, trust: &tls.Config{RootCAs: roots, ServerName: "localhost"}, own: own, roots: ca.Pool()}
}

// line makes a line that breaks after so many bytes; it ends with the test.
func (x *exchange) line(t *testing.T, w way, after int) *line {
	t.Helper()
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{x.own}})
	if err != nil {
		t.Fatal(err)
	}
	l := &line{listener: listener, server: x.server, trust: x.trust, way: w, after: after, open: map[net.Conn]bool{}}
	l.ends.Go(l.serve)
	t.Cleanup(l.close)
	return l
}

func (l *line) serve() {
	for {
		client, err := l.listener.Accept()
		if err != nil {
			return // closed
		}
		l.ends.Go(func() { l.connect(client) })
	}
}

// connect carries one connection until either side ends it or the line breaks.
func (l *line) connect(client net.Conn) {
	defer l.hold(client)()
	server, err := tls.Dial("tcp", l.server, l.trust)
	if err != nil {
		return // the client sees the end
	}
	defer l.hold(server)()
	var both sync.WaitGroup
	hangUp := sync.OnceFunc(func() { end(client, l.snapped()); end(server, l.snapped()) })
	both.Go(func() { l.carry(server, client, fromClient); hangUp() })
	both.Go(func() { l.carry(client, server, fromServer); hangUp() })
	both.Wait()
}

// hold notes a socket for close.
func (l *line) hold(c net.Conn) (drop func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[c] = true
	if l.closed {
		end(c, true)
	}
	return func() {
		end(c, false)
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.open, c)
	}
}

// end closes a connection; abruptly is without TLS's goodbye.
func end(c net.Conn, abruptly bool) {
	if t, ok := c.(*tls.Conn); ok && abruptly {
		c = t.NetConn()
	}
	_ = c.Close() // the other side may have been faster
}

func (l *line) carry(to, from net.Conn, w way) {
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		pass, cut := l.pass(w, n)
		if _, failed := to.Write(buf[:pass]); err != nil || failed != nil || cut {
			return
		}
	}
}

// pass counts n bytes and says how many of them may go on.
func (l *line) pass(w way, n int) (pass int, cut bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.passed[w]
	l.passed[w] += n
	if l.after == whole || l.broken || l.way != w || l.passed[w] <= l.after {
		return n, false
	}
	l.broken = true
	return l.after - before, true
}

// snapped says whether the line broke.
func (l *line) snapped() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken
}

// said is how many bytes came one way.
func (l *line) said(w way) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.passed[w]
}

// port is where a Source is to connect: to localhost.
func (l *line) port() int { return l.listener.Addr().(*net.TCPAddr).Port }

// close ends the line and waits for its goroutines.
func (l *line) close() {
	_ = l.listener.Close() // nobody listens any more either way
	l.mu.Lock()
	l.closed = true
	for c := range l.open {
		end(c, true)
	}
	l.mu.Unlock()
	l.ends.Wait()
}
