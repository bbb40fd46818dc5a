package providertest

import (
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strconv"
	"testing"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/inbound/inboundtest"
)

// Open makes a Source or a Transport with settings that the broker knows, and closes it with the test.
func Open[E io.Closer](t *testing.T, w *World, s tokenclient.Settings, open func() (E, error)) E {
	t.Helper()
	w.Broker.SetMailboxes(s)
	edge, err := open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := edge.Close(); err != nil {
			t.Error(err)
		}
	})
	return edge
}

// Page is what a Source lists first after a cursor, at most 100.
func Page(t *testing.T, s inbound.Source, after inbound.Cursor) inbound.Page {
	t.Helper()
	p, err := s.List(t.Context(), after, 100)
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	return p
}

// List is all that a Source lists, page by page.
func List(t *testing.T, s inbound.Source) (all []inbound.Item) {
	t.Helper()
	for p := (inbound.Page{More: true}); p.More; {
		p = Page(t, s, p.Next)
		all = append(all, p.Items...)
	}
	return all
}

// IDs are the handles of a page.
func IDs(p inbound.Page) (all []string) {
	for _, it := range p.Items {
		all = append(all, it.ID)
	}
	return all
}

// Read is a whole message of a Source.
func Read(t *testing.T, s inbound.Source, id string) []byte {
	t.Helper()
	r, err := s.Open(t.Context(), id)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	b, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatalf("read: %v", err)
	}
	return b
}

// Opening makes a Source for the mailbox's INBOX.
type Opening func(t *testing.T, s tokenclient.Settings, roots *x509.CertPool) inbound.Source

// Server is the mailbox's INBOX for the suite of sources, all but what differs between the protocols: LoseCursor,
// RefuseTokens and Cut.
func (w *World) Server(s tokenclient.Settings, open Opening) inboundtest.SourceServer {
	return inboundtest.SourceServer{
		Open: func(t *testing.T, after tokenclient.After) inbound.Source {
			s.Inbound.After = after
			return open(t, s, w.Sandbox.CertPool())
		},
		Deliver: func(t *testing.T, raw []byte) { w.Deliver(t, "INBOX", raw) },
		Remove:  func(t *testing.T, raw []byte) { w.Remove(t, "INBOX", raw) },
		Holds:   func(t *testing.T) [][]byte { return w.Holds(t, "INBOX") },
		Secrets: w.Secrets,
	}
}

// Distant is the server from far away, over a line that the suite may cut.
func (w *World) Distant(server inboundtest.SourceServer, s tokenclient.Settings, open Opening) inboundtest.DistantServer {
	s.Inbound.FailedFolder = "Failed"
	return inboundtest.DistantServer{
		SourceServer: server, Roots: w.Sandbox.CertPool(),
		Address: net.JoinHostPort(s.Endpoint.Server, strconv.Itoa(s.Endpoint.Port)),
		Reach: func(t *testing.T, after tokenclient.After, port int, roots *x509.CertPool) inbound.Source {
			s.Inbound.After, s.Endpoint.Port = after, port
			return open(t, s, roots)
		},
		Failed: func(t *testing.T) [][]byte { return w.Holds(t, s.Inbound.FailedFolder) },
	}
}
