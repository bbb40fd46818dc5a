package keepertest

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMemoryIsACache(t *testing.T) {
	Cache(t, func(*testing.T) StoredCache {
		m := NewMemory()
		return StoredCache{Cache: m.Broker(), Other: m.Broker(), Tamper: m.TamperToken, Move: m.MoveToken}
	})
}

func TestMemoryIsACredentials(t *testing.T) {
	Credentials(t, func(*testing.T) StoredCredentials {
		m := NewMemory()
		return StoredCredentials{Credentials: m.Broker(), Other: m.Broker(), Tamper: m.TamperRecord, Move: m.MoveRecord}
	})
}
