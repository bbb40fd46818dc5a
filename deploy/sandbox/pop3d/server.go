package pop3d

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"maps"
	"net"
	"strings"
	"sync"

	"mailporter/sandbox/fault"
	"mailporter/sandbox/idp"
	"mailporter/sandbox/mailstore"
)

// A Security says how a port speaks TLS.
type Security string

// TLS from the first byte, after STLS, or never.
const (
	Implicit Security = "tls"
	StartTLS Security = "starttls"
	Clear    Security = "none"
)

// Config is what a Server is made of.
type Config struct {
	Provider  Provider
	Security  Security
	OneLine   bool // AUTH may carry the initial response at Exchange too
	TLS       *tls.Config
	Directory *idp.Directory
	Issuer    *idp.Issuer
	Store     *mailstore.Store
	Faults    *fault.Plan
	Log       *slog.Logger
}

// Stats counts what happened since the start.
type Stats struct {
	Connections int `json:"connections"`
	Logins      int `json:"logins"`
	Refused     int `json:"refused"`
	// InUse are the logins that found the mailbox locked by another session.
	InUse int `json:"in_use"`
	// Expired are sessions that ended with their token.
	Expired int `json:"expired"`
	// Retrieved counts messages handed out whole, by mailbox.
	Retrieved map[string]int `json:"retrieved"`
}

// A Server serves one port.
type Server struct {
	config  Config
	profile profile
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu       sync.Mutex
	closed   bool
	listener net.Listener
	conns    map[net.Conn]struct{}
	locked   map[string]struct{} // maildrops that a session has: RFC 1939 section 4 lets one in
	popped   map[string]struct{} // Gmail: messages that were handed out once
	stats    Stats
}

// New returns a server that is not serving yet.
func New(c Config) *Server {
	s := &Server{
		config: c, profile: profileOf(c), conns: map[net.Conn]struct{}{}, locked: map[string]struct{}{}, popped: map[string]struct{}{},
		stats: Stats{Retrieved: map[string]int{}},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Serve accepts connections until Close.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	s.listener = l
	s.mu.Unlock()
	for {
		raw, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		if s.track(raw) {
			go s.talk(raw)
		}
	}
}

// track remembers a connection, unless the server is closing.
func (s *Server) track(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = c.Close()
		return false
	}
	s.conns[c] = struct{}{}
	s.stats.Connections++
	s.running.Add(1)
	return true
}

// talk serves one connection to its end.
func (s *Server) talk(raw net.Conn) {
	defer s.running.Done()
	defer func() {
		_ = raw.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, raw)
	}()
	c := raw
	if s.config.Security == Implicit {
		c = tls.Server(raw, s.config.TLS)
	}
	newSession(s, c).run()
}

// Close ends all sessions and waits for them.
func (s *Server) Close() error {
	s.cancel()
	s.mu.Lock()
	s.closed = true
	var err error
	if s.listener != nil {
		err = s.listener.Close()
	}
	for c := range s.conns {
		_ = c.Close() // the client learns it soon enough
	}
	s.mu.Unlock()
	s.running.Wait()
	return err
}

// Stats returns the counts so far.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.stats
	out.Retrieved = maps.Clone(out.Retrieved)
	return out
}

func (s *Server) count(f func(*Stats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.stats)
}

// lock takes a maildrop for one session.
func (s *Server) lock(mailbox string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	mailbox = strings.ToLower(mailbox)
	if _, taken := s.locked[mailbox]; taken {
		s.stats.InUse++
		return false
	}
	s.locked[mailbox] = struct{}{}
	s.stats.Logins++
	return true
}

func (s *Server) unlock(mailbox string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.locked, strings.ToLower(mailbox))
}

// handedOut remembers what Gmail shows once only.
func (s *Server) handedOut(ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		s.popped[id] = struct{}{}
	}
}

func (s *Server) wasHandedOut(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, was := s.popped[id]
	return was
}
