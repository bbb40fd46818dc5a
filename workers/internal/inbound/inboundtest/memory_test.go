package inboundtest_test

import (
	"testing"

	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/inbound/inboundtest"
)

func TestCheckpointsInMemory(t *testing.T) {
	inboundtest.Checkpoints(t, func(*testing.T) func(*testing.T) inbound.Checkpoints {
		s := &inboundtest.State{}
		return func(*testing.T) inbound.Checkpoints { return s }
	})
}

func TestQuarantineInMemory(t *testing.T) {
	inboundtest.Quarantine(t, func(*testing.T) func(*testing.T) inbound.Quarantine {
		s := &inboundtest.State{}
		return func(*testing.T) inbound.Quarantine { return s }
	})
}

func TestDeliveriesInMemory(t *testing.T) {
	inboundtest.Deliveries(t, func(*testing.T) func(*testing.T) inbound.Deliveries {
		d := &inboundtest.DeliveriesInMemory{}
		return func(*testing.T) inbound.Deliveries { return d }
	})
}

func TestPeersInMemory(t *testing.T) {
	inboundtest.Peers(t, func(*testing.T) func(*testing.T) inbound.Peers {
		s := &inboundtest.State{}
		return func(*testing.T) inbound.Peers { return s }
	})
}
