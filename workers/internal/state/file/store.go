package file

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	_ "modernc.org/sqlite" // SQLite without cgo: the binaries stay static; registers the driver "sqlite"

	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/outbound"
)

// Store is a folder that this process holds. Any number of goroutines may use it.
type Store struct {
	dir   string
	lock  *os.File
	write *sql.DB // one connection: with more, SQLite spends its time on refused locks
	read  *sql.DB

	jobs    chan job
	closing chan struct{}
	ended   chan struct{}
	once    sync.Once

	leases  leases
	changed chan struct{}
}

// The pragmas are in the DSN because every new connection must have them.
const pragmas = "_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(5000)&_pragma=foreign_keys(ON)"

// schema is what user_version 1 has. Times are Unix microseconds. A message's next is NULL while no attempt is planned;
// claim is NULL while nobody holds it; body is NULL when the bytes are in the spool file of that name.
const schema = `
CREATE TABLE IF NOT EXISTS cursors (mailbox TEXT, folder TEXT, cursor BLOB, PRIMARY KEY (mailbox, folder)) STRICT;
CREATE TABLE IF NOT EXISTS quarantine (
	mailbox TEXT, folder TEXT, key TEXT, id TEXT NOT NULL, size INTEGER NOT NULL, arrived INTEGER, reason TEXT NOT NULL,
	moved INTEGER NOT NULL, since INTEGER NOT NULL, PRIMARY KEY (mailbox, folder, key)) STRICT;
CREATE INDEX IF NOT EXISTS quarantine_since ON quarantine (since);
CREATE TABLE IF NOT EXISTS messages (
	id INTEGER PRIMARY KEY AUTOINCREMENT, mailbox TEXT NOT NULL, envelope TEXT NOT NULL, size INTEGER NOT NULL,
	accepted INTEGER NOT NULL, next INTEGER, attempts INTEGER NOT NULL DEFAULT 0, doubt INTEGER NOT NULL DEFAULT 0,
	claim TEXT, until INTEGER, body BLOB, spool TEXT UNIQUE) STRICT;
CREATE INDEX IF NOT EXISTS messages_due ON messages (mailbox, next, id) WHERE claim IS NULL AND next IS NOT NULL;
CREATE INDEX IF NOT EXISTS messages_claimed ON messages (until) WHERE claim IS NOT NULL;
CREATE TABLE IF NOT EXISTS recipients (
	message INTEGER NOT NULL REFERENCES messages ON DELETE CASCADE, position INTEGER NOT NULL, address TEXT NOT NULL,
	state INTEGER NOT NULL, reason TEXT NOT NULL, changed INTEGER NOT NULL, PRIMARY KEY (message, position)) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS requests (request TEXT PRIMARY KEY, message INTEGER NOT NULL, added INTEGER NOT NULL) STRICT;
PRAGMA user_version = 1;`

// requestMemory is how long the id of a submission is remembered.
const requestMemory = 7 * 24 * time.Hour

// Open takes the folder, makes it if it is missing, and opens what is in it. A folder that another process holds is an
// error that names the process.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(filepath.Join(dir, spoolDir), 0o700); err != nil {
		return nil, fmt.Errorf("make the state's folder: %w", err)
	}
	held, err := lock(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, err
	}
	s := &Store{
		dir: dir, lock: held,
		jobs: make(chan job), closing: make(chan struct{}), ended: make(chan struct{}),
		changed: make(chan struct{}, 1),
	}
	s.leases.held = map[folderKey]*lease{}
	if err := s.connect(); err != nil {
		return nil, errors.Join(err, held.Close())
	}
	go s.run()
	if err := s.sweep(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Store) connect() (err error) {
	path := url.URL{Scheme: "file", Path: filepath.Join(s.dir, "worker.db")}
	path.RawQuery = pragmas + "&_txlock=immediate"
	if s.write, err = sql.Open("sqlite", path.String()); err != nil {
		return fmt.Errorf("open state: %w", err)
	}
	s.write.SetMaxOpenConns(1)
	path.RawQuery = pragmas
	if s.read, err = sql.Open("sqlite", path.String()); err != nil {
		return errors.Join(fmt.Errorf("open state: %w", err), s.write.Close())
	}
	s.read.SetMaxOpenConns(4)
	if err := s.prepare(); err != nil {
		return errors.Join(err, s.read.Close(), s.write.Close())
	}
	return nil
}

func (s *Store) prepare() error {
	var have int
	if err := s.write.QueryRow("PRAGMA user_version").Scan(&have); err != nil {
		return fmt.Errorf("open state in %s: %w", s.dir, err)
	}
	if have > 1 {
		return fmt.Errorf("open state in %s: its schema %d was made by a newer version", s.dir, have)
	}
	if _, err := s.write.Exec(schema); err != nil {
		return fmt.Errorf("prepare state: %w", err)
	}
	return nil
}

// Checkpoints is the part that remembers cursors.
func (s *Store) Checkpoints() inbound.Checkpoints { return checkpoints{s} }

// Quarantine is the part that remembers what was passed over.
func (s *Store) Quarantine() inbound.Quarantine { return quarantine{s} }

// Outbox is the part that keeps mail until it is sent.
func (s *Store) Outbox() outbound.Outbox { return outbox{s} }

// Ping says whether the store works.
func (s *Store) Ping() error { return s.write.Ping() }

// Close waits for the writes that were begun and ends the store's use. Leases and claims that are held are lost.
func (s *Store) Close() error {
	s.once.Do(func() { close(s.closing) })
	<-s.ended
	return errors.Join(s.read.Close(), s.write.Close(), s.lock.Close())
}
