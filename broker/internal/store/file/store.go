package file

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	_ "modernc.org/sqlite" // registers the driver "sqlite"

	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/store/seal"
	"mailporter/broker/internal/token"
	"mailporter/kit/lockfile"
)

// Store is keeper.Cache and keeper.Credentials in a folder. Any number of goroutines may use it.
type Store struct {
	db     *sql.DB
	lock   *os.File
	sealer *seal.Sealer

	mu     sync.Mutex
	leases map[string]*lease
}

// One writer connection: with a pool SQLite spends its time on refused locks. The pragmas are in the DSN because every new
// connection must have them.
const pragmas = "_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(5000)&_txlock=immediate"

// schema is what user_version 1 has. expires is in Unix milliseconds.
const schema = `
CREATE TABLE IF NOT EXISTS tokens (name TEXT PRIMARY KEY, generation INTEGER NOT NULL, expires INTEGER NOT NULL, sealed BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS credentials (id TEXT PRIMARY KEY, fence INTEGER NOT NULL, sealed BLOB) STRICT;
CREATE TABLE IF NOT EXISTS unreadable (id TEXT PRIMARY KEY, sealed BLOB) STRICT;
PRAGMA user_version = 1;`

// Open takes the folder, makes it if it is missing, and opens its database. A folder that another process holds is an error
// that names the process.
func Open(dir string, s *seal.Sealer) (*Store, error) {
	dir, err := filepath.Abs(dir) // a relative path would become the host of the database's URL
	if err == nil {
		err = os.MkdirAll(dir, 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("make the store's folder: %w", err)
	}
	held, err := lockfile.Take(dir)
	if err != nil {
		return nil, fmt.Errorf("open store: %w; a folder serves one broker, use redis:// for more", err)
	}
	path := url.URL{Scheme: "file", Path: filepath.Join(dir, "broker.db"), RawQuery: pragmas}
	db, err := sql.Open("sqlite", path.String())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open store: %w", err), held.Close())
	}
	db.SetMaxOpenConns(1)
	st := &Store{db: db, lock: held, sealer: s, leases: map[string]*lease{}}
	if err := st.prepare(); err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return st, nil
}

func (s *Store) prepare() error {
	var have int
	if err := s.db.QueryRow("PRAGMA user_version").Scan(&have); err != nil {
		return fmt.Errorf("open store: %w", err)
	}
	if have > 1 {
		return fmt.Errorf("open store: its schema %d was made by a newer version", have)
	}
	if _, err := s.db.Exec(schema); err != nil {
		return fmt.Errorf("prepare store: %w", err)
	}
	if _, err := s.db.Exec("DELETE FROM tokens WHERE expires <= ?", time.Now().UnixMilli()); err != nil {
		return fmt.Errorf("prepare store: %w", err)
	}
	return nil
}

// Close ends its use. Leases that are held are lost.
func (s *Store) Close() error { return errors.Join(s.db.Close(), s.lock.Close()) }

// Get implements keeper.Cache.
func (s *Store) Get(ctx context.Context, k token.Key) (token.Token, error) {
	var b []byte
	err := s.db.QueryRowContext(ctx, "SELECT sealed FROM tokens WHERE name = ?", s.sealer.TokenName(k)).Scan(&b)
	if errors.Is(err, sql.ErrNoRows) {
		return token.Token{}, nil
	}
	if err != nil {
		return token.Token{}, fmt.Errorf("read token: %w", err)
	}
	return s.sealer.OpenToken(k, b)
}

// Put implements keeper.Cache.
func (s *Store) Put(ctx context.Context, k token.Key, t token.Token) error {
	b, err := s.sealer.Token(k, t)
	if err != nil {
		return err
	}
	_, err = s.db.ExecContext(ctx, `INSERT INTO tokens (name, generation, expires, sealed) VALUES (?, ?, ?, ?)
		ON CONFLICT (name) DO UPDATE SET generation = excluded.generation, expires = excluded.expires, sealed = excluded.sealed
		WHERE excluded.generation > tokens.generation`, s.sealer.TokenName(k), t.Generation, t.Expires.UnixMilli(), b)
	if err != nil {
		return fmt.Errorf("write token: %w", err)
	}
	return nil
}

// Load implements keeper.Credentials.
func (s *Store) Load(ctx context.Context, id string) (keeper.Record, error) {
	var b []byte
	err := s.db.QueryRowContext(ctx, "SELECT sealed FROM credentials WHERE id = ?", id).Scan(&b)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return keeper.Record{}, fmt.Errorf("read record: %w", err)
	}
	if b == nil {
		return keeper.Record{}, nil
	}
	return s.sealer.OpenRecord(id, b)
}

// Shelve implements keeper.Shelver.
func (s *Store) Shelve(ctx context.Context, id string) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("put record aside: %w", err)
	}
	_, err = tx.ExecContext(ctx, "INSERT OR REPLACE INTO unreadable (id, sealed) SELECT id, sealed FROM credentials WHERE id = ? AND sealed IS NOT NULL", id)
	if err == nil {
		_, err = tx.ExecContext(ctx, "UPDATE credentials SET sealed = NULL WHERE id = ?", id)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("put record aside: %w", err), tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("put record aside: %w", err)
	}
	return nil
}

// Changes implements keeper.Credentials: there is no other broker, so nothing ever comes.
func (s *Store) Changes() <-chan string { return nil }
