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

	sessions  sync.WaitGroup
	room      room
	strangers room        // the part of it that those may have who have yet to prove who they are
	full      atomic.Bool // somebody was turned away since there was room
}

// room is for so many sessions as its capacity.
type room chan struct{}

// enter takes a place, if there is one.
func (r room) enter() bool {
	select {
	case r <- struct{}{}:
		return true
	default:
		return false
	}
}

func (r room) leave() { <-r }

// New makes a server that puts mail into o. senders may be filled, and change, while it serves.
func New(c Config, o intake.Outbox, senders *intake.Senders) *Server {
	c = c.withDefaults()
	return &Server{config: c, outbox: o, senders: senders, room: make(room, c.MaxSessions), strangers: make(room, (c.MaxSessions+1)/2)}
}

// Serve takes connections from l until ctx ends. Then no new ones are taken, idle ones are told to come back, messages
// that are coming in are taken to their end, and Serve returns nil. Another error of l ends it too.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() { defer close(closed); _ = l.Close() }) // its error would say that it was closed
	defer func() {
		if !stop() {
			<-closed // Accept may return before the port is free
		}
	}()
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
	if !s.room.enter() {
		s.turnAway(raw)
		return
	}
	defer s.room.leave()
	g := &gate{conn: raw}
	if !s.allows(raw.RemoteAddr()) {
		if !s.strangers.enter() {
			s.turnAway(raw)
			return
		}
		g.stranger(time.Now().Add(s.config.LoginWithin), s.strangers.leave)
		defer g.welcome()
	}
	s.full.Store(false)
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

func (s *Server) turnAway(client net.Conn) {
	if !s.full.Swap(true) {
		s.config.Log.Warn("turning clients away: too many connections", "sessions", cap(s.room), "remote", client.RemoteAddr().String())
	}
	_ = client.SetWriteDeadline(time.Now().Add(time.Second))
	_, _ = client.Write([]byte("421 4.7.0 Too many connections, come back soon\r\n"))
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
	known   func()    // to be called when the client has proved who it is; nil: it has, or need not
}

// stranger begins a session that ends at a time whatever comes, unless the client is welcomed before. leave is called then, or
// when the session ends.
func (g *gate) stranger(until time.Time, leave func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.until, g.known = until, leave
}

// welcome is for a client that has proved who it is.
func (g *gate) welcome() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.known != nil {
		g.known()
	}
	g.until, g.known = time.Time{}, nil
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
	g.welcome() // last words are for strangers too
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
