package imap_test

import (
	"crypto/x509"
	"testing"

	"go.uber.org/goleak"

	"mailporter/kit/tokenclient"
	"mailporter/sandbox"
	"mailporter/sandbox/fault"
	"mailporter/workers/internal/imap"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/providertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	support = providertest.Support
	gmail   = providertest.Gmail
	pass    = providertest.Password
)

var letter = providertest.Letter

// world is a provider with a broker beside it and one mailbox to read.
type world struct{ *providertest.World }

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldWith(t, func(*sandbox.Config) {})
}

func newWorldWith(t *testing.T, change func(*sandbox.Config)) *world {
	t.Helper()
	edge := providertest.Edge{Protocol: tokenclient.IMAP, Target: fault.IMAP, Roles: []string{"IMAP.AccessAsApp"}}
	return &world{providertest.New(t, edge, func(c *sandbox.Config) {
		c.Tenants[0].Users = append(c.Tenants[0].Users, sandbox.User{Address: "noimap@contoso.example", IMAPDisabled: true})
		change(c)
	})}
}

// settings are those of the mailbox at its server.
func (w *world) settings(t *testing.T) tokenclient.Settings {
	t.Helper()
	address := w.Sandbox.IMAPAddr()
	if w.Mailbox == gmail {
		address = w.Sandbox.GmailIMAPAddr()
	}
	return w.Settings(t, address, tokenclient.XOAUTH2)
}

// source makes a Source with these settings, known to the broker.
func (w *world) source(t *testing.T, s tokenclient.Settings, folder string) *imap.Source {
	t.Helper()
	return w.sourceFrom(t, imap.Config{Settings: s, Folder: folder, Broker: w.Client, Roots: w.Sandbox.CertPool()})
}

func (w *world) sourceFrom(t *testing.T, c imap.Config) *imap.Source {
	t.Helper()
	return providertest.Open(t, w.World, c.Settings, func() (*imap.Source, error) { return imap.New(c) })
}

// open makes a Source for the suites.
func (w *world) open(t *testing.T, s tokenclient.Settings, roots *x509.CertPool) inbound.Source {
	t.Helper()
	return w.sourceFrom(t, imap.Config{Settings: s, Folder: "INBOX", Broker: w.Client, Roots: roots})
}
