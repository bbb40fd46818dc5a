package outboundtest

import (
	"net"
	"sync"
	"testing"
)

// relay carries connections to a server and cuts all of them once it has carried so much. It listens on loopback.
type relay struct {
	address string
	target  string
	l       net.Listener
	running sync.WaitGroup

	mu       sync.Mutex
	up, down int // bytes carried to the server, and back
	mostUp   int
	mostDown int
	cut      bool
	open     map[net.Conn]bool
}

func newRelay(t *testing.T, target string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{address: l.Addr().String(), target: target, l: l, mostUp: 1 << 30, mostDown: 1 << 30, open: map[net.Conn]bool{}}
	r.running.Go(r.accept)
	t.Cleanup(r.close)
	return r
}

// limit is how many bytes pass before the link is cut for ever.
func (r *relay) limit(up, down int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mostUp, r.mostDown = up, down
}

func (r *relay) carried() (up, down int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.up, r.down
}

func (r *relay) close() {
	_ = r.l.Close() // nobody else has it
	r.mu.Lock()
	r.sever()
	r.mu.Unlock()
	r.running.Wait()
}

// sever ends all connections; r.mu is held.
func (r *relay) sever() {
	r.cut = true
	for c := range r.open {
		_ = c.Close() // the point is that it ends
	}
}

func (r *relay) accept() {
	for {
		client, err := r.l.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", r.target)
		if err != nil {
			_ = client.Close()
			continue
		}
		if r.watch(client, server) {
			r.running.Go(func() { r.carry(server, client, &r.up, &r.mostUp) })
			r.running.Go(func() { r.carry(client, server, &r.down, &r.mostDown) })
		}
	}
}

// watch keeps track of a pair of connections, or ends it if the link is cut already.
func (r *relay) watch(pair ...net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range pair {
		r.open[c] = true
	}
	if r.cut {
		r.sever()
	}
	return !r.cut
}

// carry copies one direction until either side ends, or the limit is met.
func (r *relay) carry(to, from net.Conn, carried, most *int) {
	defer to.Close()   //nolint:errcheck // it may be closed already
	defer from.Close() //nolint:errcheck // as above
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		pass, cut := r.count(n, carried, most)
		if _, werr := to.Write(buf[:pass]); err != nil || werr != nil {
			return
		}
		if cut {
			r.mu.Lock()
			r.sever()
			r.mu.Unlock()
			return
		}
	}
}

// count says how many of n bytes may pass, and whether the link ends with them.
func (r *relay) count(n int, carried, most *int) (pass int, cut bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	pass = min(n, *most-*carried)
	*carried += pass
	return pass, *carried >= *most
}
