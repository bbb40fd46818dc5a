package graph_test

import (
	"testing"

	"mailporter/sandbox"
	"mailporter/sandbox/fault"
	"mailporter/workers/internal/inbound/inboundtest"
)

func TestSource(t *testing.T) {
	inboundtest.Source(t, func(t *testing.T) inboundtest.SourceServer { return newWorld(t).server(t) })
}

// TestSourceWithoutDelta is the cloud in China.
func TestSourceWithoutDelta(t *testing.T) {
	inboundtest.Source(t, func(t *testing.T) inboundtest.SourceServer {
		w := newWorldWith(t, func(c *sandbox.Config) { c.NoGraphDelta = true })
		s := w.server(t)
		s.LoseCursor = nil // times of arrival cannot be lost
		return s
	})
}

func TestCuts(t *testing.T) {
	inboundtest.Cuts(t, func(t *testing.T) inboundtest.DistantServer { return newWorld(t).distant(t) })
}

func (w *world) distant(t *testing.T) inboundtest.DistantServer {
	return w.Distant(w.server(t), w.settings(t), w.open)
}

func (w *world) server(t *testing.T) inboundtest.SourceServer {
	s := w.Server(w.settings(t), w.open)
	s.LoseCursor = func(*testing.T) { w.Sandbox.ForgetDelta() }
	s.RefuseTokens = func(_ *testing.T, n int) { w.Fault(fault.Rule{Action: fault.RefuseToken, Count: max(n, 0)}) }
	s.Cut = func(*testing.T) { w.Fault(fault.Rule{Step: "delete", Action: fault.LoseAnswer, Count: 1}) }
	return s
}
