package graph_test

import (
	"crypto/x509"
	"testing"

	"go.uber.org/goleak"

	"mailporter/kit/tokenclient"
	"mailporter/sandbox"
	"mailporter/sandbox/fault"
	"mailporter/sandbox/idp"
	"mailporter/workers/internal/graph"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/providertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	tenant  = providertest.Tenant
	support = providertest.Support
	sales   = "sales@contoso.example"
	office  = "office@contoso.example"
	shared  = "shared@contoso.example" // others may send as it
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
	edge := providertest.Edge{Protocol: tokenclient.Graph, Target: fault.Graph, Audience: idp.Graph, Roles: []string{"Mail.ReadWrite", "Mail.Send"}}
	return &world{providertest.New(t, edge, func(c *sandbox.Config) {
		c.Tenants[0].Apps[0].SendAs = []string{shared}
		c.Tenants[0].Users = append(c.Tenants[0].Users, sandbox.User{Address: sales}, sandbox.User{Address: office}, sandbox.User{Address: shared})
		change(c)
	})}
}

// settings are those of the mailbox.
func (w *world) settings(t *testing.T) tokenclient.Settings {
	t.Helper()
	return w.Settings(t, w.Sandbox.GraphURL(), tokenclient.Bearer)
}

// source makes a Source with these settings, known to the broker.
func (w *world) source(t *testing.T, s tokenclient.Settings, folder string) *graph.Source {
	t.Helper()
	return w.sourceFrom(t, graph.Config{Settings: s, Folder: folder, Broker: w.Client, Roots: w.Sandbox.CertPool()})
}

func (w *world) sourceFrom(t *testing.T, c graph.Config) *graph.Source {
	t.Helper()
	return providertest.Open(t, w.World, c.Settings, func() (*graph.Source, error) { return graph.New(c) })
}

// open makes a Source for the suites.
func (w *world) open(t *testing.T, s tokenclient.Settings, roots *x509.CertPool) inbound.Source {
	t.Helper()
	return w.sourceFrom(t, graph.Config{Settings: s, Folder: "INBOX", Broker: w.Client, Roots: roots})
}
