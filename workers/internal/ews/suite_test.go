package ews_test

import (
	"testing"

	"mailporter/kit/tokenclient"
	"mailporter/sandbox/fault"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/inbound/inboundtest"
)

func TestSource(t *testing.T) {
	inboundtest.Source(t, func(t *testing.T) inboundtest.SourceServer { return newWorld(t).server(t) })
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
