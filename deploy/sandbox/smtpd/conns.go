package smtpd

import (
	"errors"
	"net"
	"sync"
)

// openConns knows the connections of a server: go-smtp can either wait for its connections or close them, not both.
type openConns struct {
	mu        sync.Mutex
	closed    bool
	listeners []net.Listener
	conns     map[net.Conn]struct{}
	greet     func(net.Conn) error // before the first byte
}

func (o *openConns) watch(l net.Listener) net.Listener {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.listeners = append(o.listeners, l)
	return &watched{l, o}
}

func (o *openConns) close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	var errs []error
	for _, l := range o.listeners {
		errs = append(errs, l.Close())
	}
	for c := range o.conns {
		_ = c.Close() // the client learns it soon enough
	}
	return errors.Join(errs...)
}

type watched struct {
	net.Listener
	open *openConns
}

func (w *watched) Accept() (net.Conn, error) {
	c, err := w.Listener.Accept()
	if err != nil {
		return nil, err
	}
	w.open.mu.Lock()
	defer w.open.mu.Unlock()
	if w.open.closed {
		return nil, errors.Join(net.ErrClosed, c.Close())
	}
	w.open.conns[c] = struct{}{}
	return &watchedConn{Conn: c, open: w.open}, nil
}

type watchedConn struct {
	net.Conn
	open  *openConns
	begun bool // the server has begun to speak; nobody else writes then
}

// Write lets a fault happen before the first byte.
func (c *watchedConn) Write(b []byte) (int, error) {
	if !c.begun {
		c.begun = true
		if err := c.open.greet(c); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(b)
}

// NetConn lets faults get at the TCP connection.
func (c *watchedConn) NetConn() net.Conn { return c.Conn }

func (c *watchedConn) Close() error {
	c.open.mu.Lock()
	delete(c.open.conns, c.Conn)
	c.open.mu.Unlock()
	return c.Conn.Close()
}
