package pop3_test

import (
	"crypto/x509"
	"testing"

	"mailporter/kit/tokenclient"
	"mailporter/sandbox/fault"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/inbound/inboundtest"
	"mailporter/workers/internal/pop3"
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

func (w *world) server(t *testing.T) inboundtest.SourceServer {
	var last *pop3.Source
	s := w.Server(w.settings(t), func(t *testing.T, s tokenclient.Settings, _ *x509.CertPool) inbound.Source {
		if last != nil {
			last.Yield() // a server lets one session in
		}
		last = w.source(t, s)
		return last
	})
	s.LoseCursor = nil // a UIDL lasts
	s.RefuseTokens = func(_ *testing.T, n int) {
		w.Fault(fault.Rule{Step: "auth", Action: fault.RefuseToken, Count: max(n, 0)})
	}
	s.Cut = func(*testing.T) { w.Fault(fault.Rule{Step: "quit", Action: fault.LoseAnswer, Count: 1}) }
	s.Disposes = []tokenclient.After{tokenclient.Keep, tokenclient.Delete}
	s.Carried = withLineEnd
	return s
}
