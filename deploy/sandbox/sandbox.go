// Package sandbox is a mail provider in one process, for tests: an identity provider with the shapes of Entra ID and
// Google, IMAP and SMTP submission servers with the manners of Exchange Online and Gmail over one mail store, faults on
// demand, and an HTTP API to look in and to set them. Everything listens on loopback with certificates of its own CA.
//
//	sb, err := sandbox.Start(sandbox.Config{Tenants: []sandbox.Tenant{{ID: tenant, Domains: []string{"contoso.example"}, ...}}})
//	defer sb.Close()
//	// sb.Authority(), sb.IMAPAddr(), sb.SMTPAddr(), sb.CAPEM(): what a client needs
//
// It is as strict as the real ones where clients go wrong; README.md says what it refuses, and where it is kinder.
package sandbox

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"mailporter/sandbox/admin"
	"mailporter/sandbox/allowance"
	"mailporter/sandbox/ewsd"
	"mailporter/sandbox/fault"
	"mailporter/sandbox/graphd"
	"mailporter/sandbox/idp"
	"mailporter/sandbox/imapd"
	"mailporter/sandbox/mailstore"
	"mailporter/sandbox/pki"
	"mailporter/sandbox/pop3d"
	"mailporter/sandbox/smtpd"
)

// A Sandbox is a running provider. Its methods may be called from any goroutine.
type Sandbox struct {
	config    Config
	ca        *pki.Authority
	directory *idp.Directory
	issuer    *idp.Issuer
	store     *mailstore.Store
	faults    *fault.Plan
	sending   *allowance.Sending // of Exchange's mailboxes, over all protocols
	identity  *idp.Server
	imap      [2]*imapd.Server // Exchange, Gmail
	pop3      [2]*pop3d.Server
	smtp      [2]*smtpd.Server
	graph     *graphd.Server
	ews       *ewsd.Server
	listeners map[string]net.Listener

	closers []func() error // in the order of starting
	serving sync.WaitGroup
	once    sync.Once
	closed  error
}

// Start starts everything and returns when all ports are open.
func Start(c Config) (*Sandbox, error) {
	if err := c.Validate(); err != nil {
		return nil, fmt.Errorf("sandbox: %w", err)
	}
	s := &Sandbox{config: c.withDefaults(), faults: &fault.Plan{}, listeners: map[string]net.Listener{}}
	s.sending = allowance.New(s.config.Limits.MessagesPerMinute, s.config.Limits.RecipientsPerDay)
	for _, step := range []func() error{s.openState, s.makeMailboxes, s.listen, s.startIdentity, s.startMail, s.startGraph, s.startEWS, s.startAdmin} {
		if err := step(); err != nil {
			return nil, errors.Join(fmt.Errorf("sandbox: %w", err), s.Close())
		}
	}
	return s, nil
}

// Close ends all connections, waits for the servers and closes the store. A second Close does nothing.
func (s *Sandbox) Close() error {
	s.once.Do(func() {
		var errs []error
		for _, c := range slices.Backward(s.closers) {
			errs = append(errs, c())
		}
		s.serving.Wait()
		s.closed = errors.Join(errs...)
	})
	return s.closed
}

func (s *Sandbox) openState() (err error) {
	c := s.config
	if s.ca, err = pki.Open(c.CADir); err != nil {
		return err
	}
	if s.directory, err = idp.NewDirectory(c.Tenants, c.Google); err != nil {
		return err
	}
	if s.issuer, err = idp.NewIssuer(c.Data, c.TokenLife); err != nil {
		return err
	}
	mail := ""
	if c.Data != "" {
		mail = filepath.Join(c.Data, "mail")
	}
	if s.store, err = mailstore.Open(mail); err != nil {
		return err
	}
	s.closers = append(s.closers, s.store.Close)
	return nil
}

func (s *Sandbox) makeMailboxes() error {
	exchange, gmail := s.directory.Addresses()
	for _, addr := range exchange {
		if err := s.store.Create(addr, mailstore.Exchange()); err != nil {
			return err
		}
	}
	for _, addr := range gmail {
		if err := s.store.Create(addr, mailstore.Gmail()); err != nil {
			return err
		}
	}
	return nil
}

// listen opens all ports, so that each server can name the others' addresses.
func (s *Sandbox) listen() error {
	for name, port := range s.config.Ports.all() {
		l, err := net.Listen("tcp", net.JoinHostPort(s.config.Host, strconv.Itoa(port)))
		if err != nil {
			return fmt.Errorf("ports.%s: %w", name, err)
		}
		s.listeners[name] = l
		s.closers = append(s.closers, func() error { return ignoreClosed(l.Close()) })
	}
	return nil
}

// ignoreClosed: the servers close their listeners themselves; those that never started are closed here.
func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

func (s *Sandbox) tls() (*tls.Config, error) {
	return s.ca.Server("localhost", "127.0.0.1", "::1", s.config.Host)
}

func (s *Sandbox) startIdentity() error {
	secure, err := s.tls()
	if err != nil {
		return err
	}
	s.identity = idp.New(idp.Config{
		Directory: s.directory, Issuer: s.issuer, Seeds: s.config.RefreshTokens, Base: s.Authority(), Federation: s.Federation(),
		RefreshIn: s.config.RefreshIn, RefreshLife: s.config.RefreshTokenLife, SingleUse: s.config.SingleUseRefreshTokens,
		LoopLimit: s.config.Limits.IdenticalTokenRequests, Faults: s.faults, Log: s.config.Log,
	})
	s.serveHTTP("identity", s.identity, secure)
	return nil
}

func (s *Sandbox) startMail() error {
	secure, err := s.tls()
	if err != nil {
		return err
	}
	c := s.config
	for i, name := range []string{"imap", "gmail-imap"} {
		server := imapd.New(imapd.Config{
			Provider: imapd.Provider(i), Security: c.IMAPSecurity, TLS: secure, Directory: s.directory, Issuer: s.issuer,
			Store: s.store, Faults: s.faults, Connections: c.Limits.IMAPConnections, Log: c.Log,
		})
		s.imap[i] = server
		s.serve(name, server.Serve, server.Close)
	}
	for i, name := range []string{"pop3", "gmail-pop3"} {
		server := pop3d.New(pop3d.Config{
			Provider: pop3d.Provider(i), Security: c.POP3Security, OneLine: c.POP3OneLine, TLS: secure, Directory: s.directory, Issuer: s.issuer,
			Store: s.store, Faults: s.faults, Log: c.Log,
		})
		s.pop3[i] = server
		s.serve(name, server.Serve, server.Close)
	}
	for i, name := range []string{"smtp", "gmail-smtp"} {
		sending := s.sending
		if smtpd.Provider(i) == smtpd.Gmail { // another company
			sending = allowance.New(c.Limits.MessagesPerMinute, c.Limits.RecipientsPerDay)
		}
		server := smtpd.New(smtpd.Config{
			Provider: smtpd.Provider(i), TLS: secure, Directory: s.directory, Issuer: s.issuer, Store: s.store,
			Faults: s.faults, Connections: c.Limits.SMTPConnections, Sending: sending,
			MaxSize: c.Limits.MessageSize, SentCopyDelay: c.SentCopyDelay, Log: c.Log,
		})
		s.smtp[i] = server
		s.serve(name, server.Serve, server.Close)
	}
	return nil
}

// graphUploads is the span of Limits.GraphUploads.
const graphUploads = 5 * time.Minute

func (s *Sandbox) startGraph() error {
	secure, err := s.tls()
	if err != nil {
		return err
	}
	s.graph = graphd.New(graphd.Config{
		Directory: s.directory, Issuer: s.issuer, Store: s.store, Faults: s.faults,
		Concurrency: s.config.Limits.GraphRequests, Sending: s.sending, Uploads: allowance.NewWindow(s.config.Limits.GraphUploads, graphUploads), NoDelta: s.config.NoGraphDelta, Log: s.config.Log,
	})
	s.serveHTTP("graph", s.graph, secure)
	return nil
}

func (s *Sandbox) startEWS() error {
	secure, err := s.tls()
	if err != nil {
		return err
	}
	s.ews = ewsd.New(ewsd.Config{
		Directory: s.directory, Issuer: s.issuer, Store: s.store, Faults: s.faults, Concurrency: s.config.Limits.EWSRequests,
		Sending: s.sending, MaxSize: s.config.Limits.MessageSize, Log: s.config.Log,
	})
	s.serveHTTP("ews", s.ews, secure)
	return nil
}

func (s *Sandbox) startAdmin() error {
	s.serveHTTP("admin", admin.New(s), nil)
	return nil
}

// serve runs a server on the listener of that name.
func (s *Sandbox) serve(name string, serve func(net.Listener) error, stop func() error) {
	l := s.listeners[name]
	s.serving.Go(func() {
		if err := serve(l); err != nil {
			s.config.Log.Error("server stopped", "server", name, "error", err)
		}
	})
	s.closers = append(s.closers, func() error { return ignoreClosed(stop()) })
}

func (s *Sandbox) serveHTTP(name string, h http.Handler, secure *tls.Config) {
	ctx, cancel := context.WithCancel(context.Background())
	server := newHTTPServer(ctx, h, s.config.Log)
	serve := server.Serve
	if secure != nil {
		// HTTP/1.1 only: a fault must be able to reset the connection that one request came on.
		secure.NextProtos = []string{"http/1.1"}
		serve = func(l net.Listener) error { return server.Serve(tls.NewListener(l, secure)) }
	}
	s.serve(name, func(l net.Listener) error {
		if err := serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	}, func() error {
		cancel()
		return server.Close()
	})
}

// CertPool returns the pool of roots with which clients reach this sandbox.
func (s *Sandbox) CertPool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(s.CAPEM())
	return pool
}
