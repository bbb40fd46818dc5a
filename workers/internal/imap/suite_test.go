package imap_test

import (
	"testing"

	"mailporter/kit/tokenclient"
	"mailporter/sandbox/fault"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/inbound/inboundtest"
)

func TestSource(t *testing.T) {
	for name, mailbox := range map[string]string{"exchange": support, "gmail": gmail} {
		t.Run(name, func(t *testing.T) {
			inboundtest.Source(t, func(t *testing.T) inboundtest.SourceServer {
				w := newWorld(t)
				w.mailbox = mailbox
				return w.server(t)
			})
		})
	}
}

func (w *world) server(t *testing.T) inboundtest.SourceServer {
	return inboundtest.SourceServer{
		Open: func(t *testing.T, after tokenclient.After) inbound.Source {
			s := w.settings(t)
			s.Inbound.After = after
			return w.source(t, s, "INBOX")
		},
		Deliver: func(t *testing.T, raw []byte) { w.deliver(t, "INBOX", raw) },
		Remove:  func(t *testing.T, raw []byte) { w.remove(t, "INBOX", raw) },
		Holds:   func(t *testing.T) [][]byte { return w.holds(t, "INBOX") },
		LoseCursor: func(t *testing.T) {
			if err := w.sandbox.Store().Renumber(w.mailbox, "INBOX"); err != nil {
				t.Fatal(err)
			}
		},
		RefuseTokens: func(_ *testing.T, n int) {
			w.fault(fault.Rule{Step: "authenticate", Action: fault.RefuseToken, Count: max(n, 0)})
		},
		Cut:     func(*testing.T) { w.fault(fault.Rule{Step: "expunge", Action: fault.LoseAnswer, Count: 1}) },
		Secrets: w.secrets,
	}
}
