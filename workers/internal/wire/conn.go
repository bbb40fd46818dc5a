package wire

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"sync"
	"time"
)

// Conn is a connection that bounds silence. Read and Write may be used side by side, as with any net.Conn.
type Conn struct {
	options Options
	raw     net.Conn // the socket

	mu      sync.Mutex
	top     net.Conn      // the socket, or TLS over it
	silence time.Duration // 0 = unbounded
	readBy  time.Time     // the caller's own deadlines; zero = none
	writeBy time.Time
	private bool
}

// Wrap makes a Conn of a connection that stands already.
func Wrap(raw net.Conn, o Options) *Conn { return wrap(raw, o) }

func wrap(raw net.Conn, o Options) *Conn { return &Conn{options: o, raw: raw, top: raw} }

// StartTLS shakes hands on the connection as it is: right after Dial with StartTLS, once the server agreed. Nothing the
// server sent may be left unread by then. No other goroutine may use the Conn meanwhile.
func (c *Conn) StartTLS(ctx context.Context) error {
	secured := tls.Client(c.raw, c.options.TLSConfig())
	if err := secured.HandshakeContext(ctx); err != nil {
		return explain(fmt.Errorf("tls: %w", err), c.options.Host)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.top = secured
	return nil
}

// Await lets the peer be silent for at most d at a time from now on, 0 for ever. A Read that waits already is bound too.
func (c *Conn) Await(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.silence = d
	c.bound()
}

// bound applies the deadlines to whoever waits already; c.mu is held. An error means that the connection is closed, which
// the next Read tells.
func (c *Conn) bound() {
	_ = c.top.SetReadDeadline(earlier(c.readBy, c.silence))
	_ = c.top.SetWriteDeadline(earlier(c.writeBy, c.silence))
}

// earlier is by, or silence from now if that is before; zero = never.
func earlier(by time.Time, silence time.Duration) time.Time {
	if silence <= 0 {
		return by
	}
	if end := time.Now().Add(silence); by.IsZero() || end.Before(by) {
		return end
	}
	return by
}

// Private hides from the trace what is sent and read until it is called with false.
func (c *Conn) Private(on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.private = on
}

// Read reads, for at most as long as the peer may be silent.
func (c *Conn) Read(p []byte) (int, error) {
	top := c.ready(true)
	n, err := top.Read(p)
	if n > 0 {
		c.trace('<', p[:n])
	}
	return n, err
}

// writeChunk is how much is written under one deadline, in bytes: a slow line must have time for all of it.
const writeChunk = 64 << 10

// Write writes all of p; each part of it has the time that the peer may be silent.
func (c *Conn) Write(p []byte) (int, error) {
	c.trace('>', p)
	written := 0
	for {
		part := p[written:min(len(p), written+writeChunk)]
		n, err := c.ready(false).Write(part)
		written += n
		if err != nil || written == len(p) {
			return written, err
		}
	}
}

// ready sets one deadline and returns what to use.
func (c *Conn) ready(read bool) net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.silence > 0 && read {
		_ = c.top.SetReadDeadline(earlier(c.readBy, c.silence))
	} else if c.silence > 0 {
		_ = c.top.SetWriteDeadline(earlier(c.writeBy, c.silence))
	}
	return c.top
}

func (c *Conn) trace(direction byte, p []byte) {
	if c.options.Trace == nil {
		return
	}
	c.mu.Lock()
	private := c.private
	c.mu.Unlock()
	if private {
		p = fmt.Appendf(nil, "[%d bytes hidden]", len(p))
	}
	c.options.Trace(direction, p)
}

// Close ends the connection in order: TLS says goodbye.
func (c *Conn) Close() error {
	c.mu.Lock()
	top := c.top
	c.mu.Unlock()
	return top.Close()
}

// Abort closes the socket at once, whatever waits on it.
func (c *Conn) Abort() { _ = c.raw.Close() }

// LocalAddr is the socket's.
func (c *Conn) LocalAddr() net.Addr { return c.raw.LocalAddr() }

// RemoteAddr is the socket's: a proxy's, if there is one.
func (c *Conn) RemoteAddr() net.Addr { return c.raw.RemoteAddr() }

// SetDeadline bounds Read and Write besides Await.
func (c *Conn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readBy, c.writeBy = t, t
	c.bound()
	return nil
}

// SetReadDeadline bounds Read besides Await: the earlier one counts.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.readBy = t
	return c.top.SetReadDeadline(earlier(t, c.silence))
}

// SetWriteDeadline bounds Write besides Await: the earlier one counts.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writeBy = t
	return c.top.SetWriteDeadline(earlier(t, c.silence))
}
