package outboundtest_test

import (
	"testing"

	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/outbound/outboundtest"
)

func TestLedgerInMemory(t *testing.T) {
	outboundtest.Ledger(t, func(*testing.T) func(*testing.T) outbound.Ledger {
		c := &outboundtest.Counter{}
		return func(*testing.T) outbound.Ledger { return c }
	})
}

func TestOutboxInMemory(t *testing.T) {
	outboundtest.Outbox(t, func(*testing.T) func(*testing.T) outbound.Outbox {
		m := &outboundtest.Memory{}
		return func(*testing.T) outbound.Outbox { return m }
	})
}
