package imapd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"

	"github.com/emersion/go-imap/v2/imapserver"

	"mailporter/sandbox/fault"
	"mailporter/sandbox/idp"
	"mailporter/sandbox/mailstore"
)

// A Security says how a port speaks TLS.
type Security string

// TLS from the first byte, after STARTTLS, or never.
const (
	Implicit Security = "tls"
	StartTLS Security = "starttls"
	Clear    Security = "none"
)

// Config is what a Server is made of.
type Config struct {
	Provider  Provider
	Security  Security
	TLS       *tls.Config
	Directory *idp.Directory
	Issuer    *idp.Issuer
	Store     *mailstore.Store
	Faults    *fault.Plan
	// Connections is how many a mailbox may have at a time; 0 is any number.
	Connections int
	Log         *slog.Logger
}

// Stats counts what happened since the start.
type Stats struct {
	Connections int `json:"connections"`
	Logins      int `json:"logins"`
	Refused     int `json:"refused"`
	// Expired are sessions that ended with their token.
	Expired int `json:"expired"`
	// Fetched counts message bodies handed out whole, by mailbox.
	Fetched map[string]int `json:"fetched"`
	// Open are the sessions that are logged in now, by mailbox.
	Open map[string]int `json:"open"`
}

// A Server serves one port.
type Server struct {
	config  Config
	profile *profile
	imap    *imapserver.Server
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex
	closed bool
	conns  map[*conn]struct{}
	stats  Stats
}

// New returns a server that is not serving yet.
func New(c Config) *Server {
	s := &Server{
		config: c, profile: c.Provider.profile(), conns: map[*conn]struct{}{},
		stats: Stats{Fetched: map[string]int{}, Open: map[string]int{}},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.imap = imapserver.New(&imapserver.Options{
		NewSession: s.newSession, Caps: serverCaps(), Logger: quiet{c.Log},
		InsecureAuth: true, // conn looks after TLS; go-imap cannot see it through the wrapper
	})
	return s
}

// quiet takes go-imap's log: clients that hang up are nothing to write home about. Its panics are.
type quiet struct{ log *slog.Logger }

func (q quiet) Printf(format string, args ...any) {
	level := slog.LevelDebug
	if strings.HasPrefix(format, "panic") {
		level = slog.LevelError
	}
	q.log.Log(context.Background(), level, "imap server", "message", fmt.Sprintf(format, args...))
}

// Serve accepts connections until Close.
func (s *Server) Serve(l net.Listener) error {
	err := s.imap.Serve(&listener{l, s})
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// listener wraps what it accepts.
type listener struct {
	net.Listener
	server *Server
}

func (l *listener) Accept() (net.Conn, error) {
	raw, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.server.track(raw)
}

// track wraps a connection and remembers it until it is closed.
func (s *Server) track(raw net.Conn) (net.Conn, error) {
	c := newConn(raw, s.profile, nil)
	switch s.config.Security {
	case StartTLS:
		c.tls = s.config.TLS
	case Clear:
	default:
		c = newConn(tls.Server(raw, s.config.TLS), s.profile, nil)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errors.Join(net.ErrClosed, raw.Close())
	}
	s.conns[c] = struct{}{}
	return c, nil
}

// Close ends all sessions and waits for them.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		_ = c.Close() // the client learns it soon enough
	}
	s.mu.Unlock()
	s.cancel()
	err := s.imap.Close()
	s.running.Wait()
	return err
}

// begin counts a session, unless the server is closing.
func (s *Server) begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return net.ErrClosed
	}
	s.running.Add(1)
	s.stats.Connections++
	return nil
}

// end forgets a session and its connection.
func (s *Server) end(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.running.Done()
}

// Stats returns the counts so far.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.stats
	out.Fetched, out.Open = map[string]int{}, map[string]int{}
	for k, v := range s.stats.Fetched {
		out.Fetched[k] = v
	}
	for k, v := range s.stats.Open {
		out.Open[k] = v
	}
	return out
}

func (s *Server) count(f func(*Stats)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.stats)
}

// opened counts a login, unless it is one too many.
func (s *Server) opened(mailbox string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.config.Connections > 0 && s.stats.Open[mailbox] >= s.config.Connections {
		s.stats.Refused++
		return false
	}
	s.stats.Logins++
	s.stats.Open[mailbox]++
	return true
}

func (s *Server) left(mailbox string) {
	s.count(func(st *Stats) {
		if st.Open[mailbox]--; st.Open[mailbox] == 0 {
			delete(st.Open, mailbox)
		}
	})
}

var errGone = fmt.Errorf("connection was ended: %w", io.ErrUnexpectedEOF)
