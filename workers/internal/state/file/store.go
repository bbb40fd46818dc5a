package file

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"mailporter/kit/lockfile"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/slots"
)

// Store is a folder that this process holds. Any number of goroutines may use it.
type Store struct {
	dir     string
	lock    *os.File
	reserve uint64  // bytes of the disk that incoming mail leaves free
	write   *sql.DB // one connection: with more, SQLite spends its time on refused locks
	read    *sql.DB

	jobs    chan job
	closing chan struct{}
	ended   chan struct{}
	once    sync.Once
	ill     atomic.Pointer[error] // what the disk did to the last changes; nil = nothing

	leases  leases
	changed chan struct{}
	slots   slots.Local
}

const database = "worker.db"

// The pragmas are in the DSN because every new connection must have them.
const pragmas = "_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=busy_timeout(5000)&_pragma=foreign_keys(ON)"

// requestMemory is how long the id of a submission is remembered.
const requestMemory = 7 * 24 * time.Hour

// Open takes the folder, makes it if it is missing, and opens what is in it. A folder that another process holds is an
// error that names the process.
func Open(dir string) (*Store, error) {
	dir, err := filepath.Abs(dir) // SQLite's URI would take the first folder of a relative path for a host
	if err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, spoolDir), 0o700); err != nil {
		return nil, fmt.Errorf("make the state's folder: %w", err)
	}
	held, err := lockfile.Take(dir)
	if err != nil {
		return nil, fmt.Errorf("open state: %w; a folder serves one worker: give each its own, or use redis://", err)
	}
	s := &Store{
		dir: dir, lock: held, reserve: reserve,
		jobs: make(chan job), closing: make(chan struct{}), ended: make(chan struct{}),
		changed: make(chan struct{}, 1),
	}
	s.leases.held = map[folderKey]*lease{}
	if err := s.connect(); err != nil {
		return nil, errors.Join(s.explain(err), held.Close())
	}
	go s.run()
	if err := s.sweep(); err != nil {
		return nil, errors.Join(s.explain(err), s.Close())
	}
	return s, nil
}

// disk says whether err is the disk's fault.
func disk(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) && slices.Contains([]int{sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CORRUPT}, e.Code()&0xff)
}

// explain says what to do about a database that is damaged: starting with an empty one would lose what is in it.
func (s *Store) explain(err error) error {
	var e *sqlite.Error
	if !errors.As(err, &e) || e.Code()&0xff != sqlite3.SQLITE_CORRUPT && e.Code()&0xff != sqlite3.SQLITE_NOTADB {
		return err
	}
	path := filepath.Join(s.dir, database)
	return fmt.Errorf("%s is damaged: keep a copy of its folder, look after the disk, and restore it from a backup or with sqlite3 %s .recover: %w", path, path, err)
}

func (s *Store) connect() error {
	if err := private(filepath.Join(s.dir, database)); err != nil {
		return fmt.Errorf("open state: %w", err)
	}
	path := url.URL{Scheme: "file", Path: filepath.Join(s.dir, database)}
	path.RawQuery = pragmas + "&_txlock=immediate"
	s.write = sql.OpenDB(connector{path.String()})
	s.write.SetMaxOpenConns(1)
	path.RawQuery = pragmas
	s.read = sql.OpenDB(connector{path.String()})
	s.read.SetMaxOpenConns(4)
	s.read.SetMaxIdleConns(4)
	if err := s.migrate(); err != nil {
		return errors.Join(err, s.read.Close(), s.write.Close())
	}
	return nil
}

// private makes the database's file before SQLite does: it holds mail, and its companions copy its mode.
func private(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

// Checkpoints is the part that remembers cursors.
func (s *Store) Checkpoints() inbound.Checkpoints { return checkpoints{s} }

// Quarantine is the part that remembers what was passed over.
func (s *Store) Quarantine() inbound.Quarantine { return quarantine{s} }

// Peers is nil: a folder serves one process, which has every folder of the mailboxes to itself.
func (s *Store) Peers() inbound.Peers { return nil }

// Deliveries is the part that remembers what sinks handed over.
func (s *Store) Deliveries() inbound.Deliveries { return deliveries{s} }

// Slots are those of this process: nobody else uses the folder.
func (s *Store) Slots() slots.Slots { return &s.slots }

// Ledger is the part that counts what is sent.
func (s *Store) Ledger() outbound.Ledger { return ledger{s} }

// Outbox is the part that keeps mail until it is sent.
func (s *Store) Outbox() outbound.Outbox { return outbox{s} }

// Ping says whether the store works: a disk that is full or broken shows with the changes, of which there are some every few
// seconds.
func (s *Store) Ping() error {
	if err := s.ill.Load(); err != nil {
		return *err
	}
	return s.write.Ping()
}

// Close waits for the writes that were begun and ends the store's use. Leases and claims that are held are lost. Closing
// again does nothing.
func (s *Store) Close() (err error) {
	s.once.Do(func() {
		close(s.closing)
		<-s.ended
		err = errors.Join(s.read.Close(), s.write.Close(), s.lock.Close())
	})
	return err
}
