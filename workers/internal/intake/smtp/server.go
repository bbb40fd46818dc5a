package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"mailporter/workers/internal/intake"
)

// Server takes mail in. It is made with New.
type Server struct {
	config  Config
	outbox  intake.Outbox
	senders *intake.Senders

	sessions sync.WaitGroup
	slots    chan struct{}
	full     atomic.Bool // somebody was turned away since there was room
}

// New makes a server that puts mail into o. senders may be filled, and change, while it serves.
func New(c Config, o intake.Outbox, senders *intake.Senders) *Server {
	c = c.withDefaults()
	return &Server{config: c, outbox: o, senders: senders, slots: make(chan struct{}, c.MaxSessions)}
}

// Serve takes connections from l until ctx ends. Then no new ones are taken, idle ones are told to come back, messages
// that are coming in are taken to their end, and Serve returns nil. Another error of l ends it too.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() { _ = l.Close() }) // its error would say that it was closed
	defer stop()
	defer s.sessions.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			if retry(ctx, err) {
				continue
			}
			return fmt.Errorf("accept: %w", err)
		}
		s.sessions.Go(func() { s.serve(ctx, conn) })
	}
}

// retry waits a moment if Accept may work again: too many open files.
func retry(ctx context.Context, err error) bool {
	if errors.Is(err, net.ErrClosed) {
		return false
	}
	select {
	case <-ctx.Done():
	case <-time.After(50 * time.Millisecond):
	}
	return true
}

func (s *Server) serve(ctx context.Context, raw net.Conn) {
	defer raw.Close() //nolint:errcheck // everything was answered before
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
		s.full.Store(false)
	default:
		if !s.full.Swap(true) {
			s.config.Log.Warn("turning clients away: too many connections", "sessions", cap(s.slots), "remote", raw.RemoteAddr().String())
		}
		_ = raw.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = raw.Write([]byte("421 4.7.0 Too many connections, come back soon\r\n"))
		return
	}
	g := &gate{conn: raw}
	if !s.allows(raw.RemoteAddr()) {
		g.end(time.Now().Add(s.config.LoginWithin))
	}
	stop := context.AfterFunc(ctx, g.drain)
	defer stop()
	// What is coming in when the server is told to stop is taken to its end.
	work := context.WithoutCancel(ctx)
	conn := net.Conn(&idle{Conn: raw, gate: g, limit: s.config.Idle})
	if s.config.ImplicitTLS && s.config.TLS != nil {
		t := tls.Server(conn, s.config.TLS)
		if err := t.HandshakeContext(ctx); err != nil {
			s.noTLS(raw, err)
			return
		}
		conn = t
	}
	x := newSession(work, s, conn, g)
	x.run()
	x.hangUp()
}

// noTLS tells the operator what the client cannot: which of the two is too old, or does not trust the other. Who only looks
// whether the port is open gives up without a word.
func (s *Server) noTLS(client net.Conn, err error) {
	if !errors.Is(err, io.EOF) {
		s.config.Log.Warn("no TLS with a client", "remote", client.RemoteAddr().String(), "error", err)
	}
}

var (
	errDraining = errors.New("the server is shutting down")
	errStranger = errors.New("the client did not prove who it is in time")
)

// gate lets a drain interrupt a session where it waits for a command, and nowhere else. It also ends the session of a stranger:
// who may not submit must not keep those out who may.
type gate struct {
	conn net.Conn

	mu      sync.Mutex
	drained bool
	busy    bool      // a message is coming in
	until   time.Time // when the session ends whatever comes; zero: never
}

// end sets when the session ends whatever comes, or with the zero time that it does not.
func (g *gate) end(at time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.until = at
}

// drain tells the session to end, at once if it waits.
func (g *gate) drain() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.drained = true
	if !g.busy {
		_ = g.conn.SetReadDeadline(time.Unix(1, 0)) // wakes whoever reads; fails only if the connection is gone
	}
}

func (g *gate) draining() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.drained
}

// extend gives the client another limit of silence, unless the session is to end.
func (g *gate) extend(limit time.Duration) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	deadline := time.Now().Add(limit)
	switch {
	case g.drained && !g.busy:
		return errDraining
	case g.until.IsZero():
	case !time.Now().Before(g.until):
		return errStranger
	case g.until.Before(deadline):
		deadline = g.until
	}
	return g.conn.SetReadDeadline(deadline)
}

// overstayed says whether a stranger's time is over.
func (g *gate) overstayed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.until.IsZero() && !time.Now().Before(g.until)
}

// enter begins a message; false if the session is to end.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.busy = !g.drained
	return g.busy
}

// lastWords is how long a client may take to read why the connection ends.
const lastWords = 2 * time.Second

// linger waits until the client has closed its side, or the time for last words is over. A connection that is closed while
// something unread came in is reset, and the reset overtakes the last reply.
func (g *gate) linger() {
	half, ok := g.conn.(*net.TCPConn)
	if !ok || half.CloseWrite() != nil {
		return
	}
	g.end(time.Time{}) // last words are for strangers too
	if g.extend(lastWords) != nil {
		return
	}
	_, _ = io.Copy(io.Discard, half) // ends by the deadline at the latest
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.busy = false
}

// idle bounds the silence of a client, not the time that its message takes.
type idle struct {
	net.Conn
	gate  *gate
	limit time.Duration
}

// Read implements net.Conn.
func (c *idle) Read(p []byte) (int, error) {
	if err := c.gate.extend(c.limit); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

// Write implements net.Conn.
func (c *idle) Write(p []byte) (int, error) {
	if err := c.Conn.SetWriteDeadline(time.Now().Add(c.limit)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}
