// Package outboundtest holds the suites that every implementation of outbound's contracts passes, and implementations in
// memory for the tests of engines and edges.
//
//	func TestOutbox(t *testing.T) {
//		outboundtest.Outbox(t, func(t *testing.T) func(*testing.T) outbound.Outbox { ... })
//	}
//
// A new edge adds a constructor and one call, and passes before it is wired.
package outboundtest
