package smtpd

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp"

	"mailporter/sandbox/allowance"
	"mailporter/sandbox/fault"
	"mailporter/sandbox/idp"
	"mailporter/sandbox/mailstore"
)

// A Provider is whose manners a server has.
type Provider int

// The two providers.
const (
	Exchange Provider = iota
	Gmail
)

// Config is what a Server is made of.
type Config struct {
	Provider  Provider
	TLS       *tls.Config
	Directory *idp.Directory
	Issuer    *idp.Issuer
	Store     *mailstore.Store
	Faults    *fault.Plan
	// Connections is how many a mailbox may have at a time; 0 is any number.
	Connections int
	// Sending is what mailboxes may send; nil is everything.
	Sending *allowance.Sending
	// MaxSize is the largest message in bytes.
	MaxSize int64
	// SentCopyDelay is how long after the 250 the sender's copy comes; negative is never. A copy that is delayed is lost when
	// the server closes before.
	SentCopyDelay time.Duration
	Log           *slog.Logger
}

// Stats counts what happened since the start.
type Stats struct {
	Connections int `json:"connections"`
	Logins      int `json:"logins"`
	Refused     int `json:"refused"`
	// Accepted counts messages, by the mailbox that sent them.
	Accepted map[string]int `json:"accepted"`
	// Open are the connections that are logged in now, Peak the most that ever were, by mailbox.
	Open map[string]int `json:"open"`
	Peak map[string]int `json:"peak"`
}

// A Server serves one port.
type Server struct {
	config Config
	smtp   *smtp.Server
	ctx    context.Context
	cancel context.CancelFunc
	open   *openConns
	copies sync.WaitGroup // of what was sent, that are to come

	mu    sync.Mutex
	stats Stats
}

// maxLine is for lines of commands and of messages alike: a token may have several kilobytes, and a message that is moved
// may have lines that no RFC allows.
const maxLine = 1 << 20

// New returns a server that is not serving yet.
func New(c Config) *Server {
	s := &Server{config: c, stats: Stats{
		Accepted: map[string]int{}, Open: map[string]int{}, Peak: map[string]int{},
	}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.open = &openConns{conns: map[net.Conn]struct{}{}, greet: func(c net.Conn) error { return s.befall(c, "greeting") }}
	c.TLS = s.shaken(c.TLS)
	s.config.TLS = c.TLS
	s.smtp = smtp.NewServer(smtp.BackendFunc(s.newSession))
	s.smtp.Domain = "smtp.sandbox.example"
	if c.Provider == Exchange {
		s.smtp.Domain = hostname
		s.smtp.TLSConfig = c.TLS
		s.smtp.EnableDSN = true
	}
	s.smtp.MaxLineLength = maxLine
	s.smtp.MaxMessageBytes = c.MaxSize
	s.smtp.EnableSMTPUTF8 = true
	s.smtp.ReadTimeout, s.smtp.WriteTimeout = 10*time.Minute, time.Minute
	s.smtp.ErrorLog = quiet{c.Log}
	return s
}

// befall lets a fault happen to a connection of which nobody knows yet whose it is.
func (s *Server) befall(c net.Conn, step string) error {
	unknown := session{server: s, conn: c}
	return unknown.step(step, "")
}

// shaken lets a fault happen when the client begins to speak TLS.
func (s *Server) shaken(conf *tls.Config) *tls.Config {
	conf = conf.Clone()
	conf.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		return nil, s.befall(hello.Conn, "starttls")
	}
	return conf
}

// quiet takes go-smtp's log: clients that hang up are nothing to write home about. Its panics are.
type quiet struct{ log *slog.Logger }

func (q quiet) Printf(format string, args ...any) {
	level := slog.LevelDebug
	if strings.HasPrefix(format, "panic") {
		level = slog.LevelError
	}
	q.log.Log(context.Background(), level, "smtp server", "message", fmt.Sprintf(format, args...))
}

func (q quiet) Println(args ...any) { q.Printf("%s", fmt.Sprint(args...)) }

// Serve accepts connections until Close.
func (s *Server) Serve(l net.Listener) error {
	l = s.open.watch(l)
	if s.config.Provider == Gmail {
		l = tls.NewListener(l, s.config.TLS)
	}
	err := s.smtp.Serve(l)
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Close ends all connections and waits for them.
func (s *Server) Close() error {
	s.cancel()
	defer s.copies.Wait()
	err := s.open.close()
	// With every connection closed there is nothing left to wait for but the handlers' last steps.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if serr := s.smtp.Shutdown(ctx); !errors.Is(serr, net.ErrClosed) {
		err = errors.Join(err, serr)
	}
	return err
}

// Stats returns the counts so far.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.stats
	out.Accepted, out.Open, out.Peak = maps.Clone(out.Accepted), maps.Clone(out.Open), maps.Clone(out.Peak)
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
	s.stats.Peak[mailbox] = max(s.stats.Peak[mailbox], s.stats.Open[mailbox])
	return true
}

func (s *Server) left(mailbox string) {
	s.count(func(st *Stats) {
		if st.Open[mailbox]--; st.Open[mailbox] == 0 {
			delete(st.Open, mailbox)
		}
	})
}
