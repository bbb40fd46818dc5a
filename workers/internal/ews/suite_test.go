package ews_test

import (
	"crypto/x509"
	"net"
	"strconv"
	"testing"

	"mailporter/kit/tokenclient"
	"mailporter/sandbox/fault"
	"mailporter/workers/internal/ews"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/inbound/inboundtest"
)

func TestSource(t *testing.T) {
	inboundtest.Source(t, func(t *testing.T) inboundtest.SourceServer { return newWorld(t).server(t) })
}

func TestCuts(t *testing.T) {
	inboundtest.Cuts(t, func(t *testing.T) inboundtest.DistantServer { return newWorld(t).distant(t) })
}

// distant is the server from far away.
func (w *world) distant(t *testing.T) inboundtest.DistantServer {
	s := w.settings(t)
	s.Inbound.FailedFolder = "Failed"
	return inboundtest.DistantServer{
		SourceServer: w.server(t), Roots: w.sandbox.CertPool(),
		Address: net.JoinHostPort(s.Endpoint.Server, strconv.Itoa(s.Endpoint.Port)),
		Reach: func(t *testing.T, after tokenclient.After, port int, roots *x509.CertPool) inbound.Source {
			s.Inbound.After, s.Endpoint.Port = after, port
			return w.sourceFrom(t, ews.Config{Settings: s, Folder: "INBOX", Broker: w.client, Roots: roots})
		},
		Failed: func(t *testing.T) [][]byte { return w.holds(t, s.Inbound.FailedFolder) },
	}
}

func (w *world) server(t *testing.T) inboundtest.SourceServer {
	return inboundtest.SourceServer{
		Open: func(t *testing.T, after tokenclient.After) inbound.Source {
			s := w.settings(t)
			s.Inbound.After = after
			return w.source(t, s, "INBOX")
		},
		Deliver:    func(t *testing.T, raw []byte) { w.deliver(t, "INBOX", raw) },
		Remove:     func(t *testing.T, raw []byte) { w.remove(t, "INBOX", raw) },
		Holds:      func(t *testing.T) [][]byte { return w.holds(t, "INBOX") },
		LoseCursor: func(*testing.T) { w.sandbox.ForgetSync() },
		RefuseTokens: func(_ *testing.T, n int) {
			w.fault(fault.Rule{Action: fault.RefuseToken, Count: max(n, 0)})
		},
		Cut:     func(*testing.T) { w.fault(fault.Rule{Step: "delete", Action: fault.LoseAnswer, Count: 1}) },
		Secrets: w.secrets,
	}
}
