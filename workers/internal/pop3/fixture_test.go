package pop3_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"mailporter/kit/tokenclient"
	"mailporter/sandbox"
	"mailporter/sandbox/fault"
	"mailporter/sandbox/mailstore"
	"mailporter/workers/internal/pop3"
	"mailporter/workers/internal/providertest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	support = providertest.Support
	gmail   = providertest.Gmail
	pass    = providertest.Password
	nopop   = "nopop@contoso.example"
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
	edge := providertest.Edge{Protocol: tokenclient.POP3, Target: fault.POP3, Roles: []string{"POP.AccessAsApp"}}
	return &world{providertest.New(t, edge, func(c *sandbox.Config) {
		c.Tenants[0].Users = append(c.Tenants[0].Users, sandbox.User{Address: nopop, POPDisabled: true})
		change(c)
	})}
}

// settings are those of the mailbox at its server.
func (w *world) settings(t *testing.T) tokenclient.Settings {
	t.Helper()
	address := w.Sandbox.POP3Addr()
	if w.Mailbox == gmail {
		address = w.Sandbox.GmailPOP3Addr()
	}
	s := w.Settings(t, address, tokenclient.XOAUTH2)
	s.Endpoint.TwoLine = w.Mailbox != gmail
	s.Endpoint.ConnectTimeout, s.Endpoint.ProtocolTimeout = 20*time.Second, 20*time.Second
	s.Inbound.AfterFolder = ""
	return s
}

// source makes a Source with these settings, known to the broker.
func (w *world) source(t *testing.T, s tokenclient.Settings) *pop3.Source {
	t.Helper()
	c := pop3.Config{Settings: s, Folder: "INBOX", Broker: w.Client, Roots: w.Sandbox.CertPool()}
	return providertest.Open(t, w.World, s, func() (*pop3.Source, error) { return pop3.New(c) })
}

func (w *world) deliver(t *testing.T, raw []byte) { t.Helper(); w.Deliver(t, "INBOX", raw) }

func (w *world) messages(t *testing.T) []*mailstore.Message {
	t.Helper()
	return w.Folder(t, "INBOX").Messages
}

// withLineEnd is a message as POP3 carries it: RFC 1939 section 3 ends it with a line end.
func withLineEnd(raw []byte) []byte {
	if n := len(raw); n == 0 || n >= 2 && string(raw[n-2:]) == "\r\n" {
		return raw
	}
	return append(raw[:len(raw):len(raw)], "\r\n"...)
}
