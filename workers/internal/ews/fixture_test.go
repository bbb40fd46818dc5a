package ews_test

import (
	"crypto/x509"
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailporter/kit/tokenclient"
	"mailporter/sandbox"
	"mailporter/sandbox/fault"
	"mailporter/workers/internal/ews"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/providertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	tenant  = providertest.Tenant
	support = providertest.Support
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
	return &world{providertest.New(t, providertest.Edge{Protocol: tokenclient.EWS, Target: fault.EWS, Roles: []string{"full_access_as_app"}}, change)}
}

// settings are those of the mailbox.
func (w *world) settings(t *testing.T) tokenclient.Settings {
	t.Helper()
	s := w.Settings(t, w.Sandbox.EWSURL(), tokenclient.Bearer)
	s.Endpoint.Impersonate = true
	s.Endpoint.ConnectTimeout = time.Minute // a loaded machine is slow with 30 MB
	return s
}

// source makes a Source with these settings, known to the broker.
func (w *world) source(t *testing.T, s tokenclient.Settings, folder string) *ews.Source {
	t.Helper()
	return w.sourceFrom(t, ews.Config{Settings: s, Folder: folder, Broker: w.Client, Roots: w.Sandbox.CertPool()})
}

func (w *world) sourceFrom(t *testing.T, c ews.Config) *ews.Source {
	t.Helper()
	return providertest.Open(t, w.World, c.Settings, func() (*ews.Source, error) { return ews.New(c) })
}

// open makes a Source for the suites.
func (w *world) open(t *testing.T, s tokenclient.Settings, roots *x509.CertPool) inbound.Source {
	t.Helper()
	return w.sourceFrom(t, ews.Config{Settings: s, Folder: "INBOX", Broker: w.Client, Roots: roots})
}
