// Package inboundtest holds the suites that every implementation of inbound's contracts passes, and implementations in
// memory for the tests of engines and edges.
//
//	func TestCheckpoints(t *testing.T) {
//		inboundtest.Checkpoints(t, func(t *testing.T) func(*testing.T) inbound.Checkpoints { ... })
//	}
//
// A new edge adds a constructor and one call, and passes before it is wired.
package inboundtest
