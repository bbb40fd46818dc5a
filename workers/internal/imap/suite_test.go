package imap_test

import (
	"crypto/x509"
	"net"
	"strconv"
	"testing"

	"mailporter/kit/tokenclient"
	"mailporter/sandbox/fault"
	"mailporter/workers/internal/imap"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/inbound/inboundtest"
)

func TestSource(t *testing.T) {
	for name, mailbox := range map[string]string{"exchange": support, "gmail": gmail} {
		t.Run(name, func(t *testing.T) {
			inboundtest.Source(t, func(t *testing.T) inboundtest.SourceServer {
				w := newWorld(t)
				w.Mailbox = mailbox
				return w.server(t)
			})
		})
	}
}

func TestCuts(t *testing.T) {
	inboundtest.Cuts(t, func(t *testing.T) inboundtest.DistantServer { return newWorld(t).distant(t) })
}

// distant is the server from far away.
func (w *world) distant(t *testing.T) inboundtest.DistantServer {
	s := w.settings(t)
	s.Inbound.FailedFolder = "Failed"
	return inboundtest.DistantServer{
		SourceServer: w.server(t), Roots: w.Sandbox.CertPool(),
		Address: net.JoinHostPort(s.Endpoint.Server, strconv.Itoa(s.Endpoint.Port)),
		Reach: func(t *testing.T, after tokenclient.After, port int, roots *x509.CertPool) inbound.Source {
			s.Inbound.After, s.Endpoint.Port = after, port
			return w.sourceFrom(t, imap.Config{Settings: s, Folder: "INBOX", Broker: w.Client, Roots: roots})
		},
		Failed: func(t *testing.T) [][]byte { return w.Holds(t, s.Inbound.FailedFolder) },
	}
}

func (w *world) server(t *testing.T) inboundtest.SourceServer {
	return inboundtest.SourceServer{
		Open: func(t *testing.T, after tokenclient.After) inbound.Source {
			s := w.settings(t)
			s.Inbound.After = after
			return w.source(t, s, "INBOX")
		},
		Deliver: func(t *testing.T, raw []byte) { w.Deliver(t, "INBOX", raw) },
		Remove:  func(t *testing.T, raw []byte) { w.Remove(t, "INBOX", raw) },
		Holds:   func(t *testing.T) [][]byte { return w.Holds(t, "INBOX") },
		LoseCursor: func(t *testing.T) {
			if err := w.Sandbox.Store().Renumber(w.Mailbox, "INBOX"); err != nil {
				t.Fatal(err)
			}
		},
		RefuseTokens: func(_ *testing.T, n int) {
			w.Fault(fault.Rule{Step: "authenticate", Action: fault.RefuseToken, Count: max(n, 0)})
		},
		Cut:     func(*testing.T) { w.Fault(fault.Rule{Step: "expunge", Action: fault.LoseAnswer, Count: 1}) },
		Secrets: w.Secrets,
	}
}
