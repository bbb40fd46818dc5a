package file

import (
	"testing"

	"mailporter/broker/internal/keeper/keepertest"
	"mailporter/broker/internal/token"
)

func TestContracts(t *testing.T) {
	t.Run("Cache", func(t *testing.T) {
		keepertest.Cache(t, func(t *testing.T) keepertest.StoredCache {
			s := open(t, t.TempDir())
			return keepertest.StoredCache{
				Cache:  s,
				Tamper: func(k token.Key) { s.must(t, "UPDATE tokens SET sealed = x'00' WHERE name = ?", s.sealer.TokenName(k)) },
				Move: func(from, to token.Key) {
					s.must(t, "INSERT OR REPLACE INTO tokens SELECT ?, generation, expires, sealed FROM tokens WHERE name = ?", s.sealer.TokenName(to), s.sealer.TokenName(from))
				},
			}
		})
	})
	t.Run("Credentials", func(t *testing.T) {
		keepertest.Credentials(t, func(t *testing.T) keepertest.StoredCredentials {
			s := open(t, t.TempDir())
			return keepertest.StoredCredentials{
				Credentials: s,
				Tamper:      func(id string) { s.must(t, "UPDATE credentials SET sealed = x'00' WHERE id = ?", id) },
				Move: func(from, to string) {
					s.must(t, "INSERT OR REPLACE INTO credentials SELECT ?, fence, sealed FROM credentials WHERE id = ?", to, from)
				},
			}
		})
	})
}

// must changes exactly one row.
func (s *Store) must(t *testing.T, query string, args ...any) {
	t.Helper()
	done, err := s.db.Exec(query, args...)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := done.RowsAffected(); err != nil || n != 1 {
		t.Fatalf("%d rows, %v", n, err)
	}
}
