package file

import (
	"bytes"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	spoolDir = "spool"
	// inline is the size up to which a message is kept in the database, in bytes: there it shares the fsync of its row.
	inline = 64 << 10
)

// stored is a message's bytes on their way into a row: in memory, or in a spool file that is durable.
type stored struct {
	body []byte
	file string // name in the spool folder, or empty
	size int64
}

// heads are buffers of messages that have become rows. One that grows anew for each message allocates five times its size: that was
// half of what a worker allocates.
var heads = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// store reads a message to its end; one that fits into head stays there. An error of r leaves nothing behind.
func (s *Store) store(r io.Reader, head *bytes.Buffer) (stored, error) {
	head.Reset()
	n, err := io.CopyN(head, r, inline+1)
	if errors.Is(err, io.EOF) {
		return stored{body: head.Bytes(), size: n}, nil
	}
	if err != nil {
		return stored{}, fmt.Errorf("read message: %w", err)
	}
	return s.storeFile(io.MultiReader(head, r))
}

func (s *Store) storeFile(r io.Reader) (stored, error) {
	name := rand.Text()
	path := filepath.Join(s.dir, spoolDir, name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return stored{}, fmt.Errorf("spool message: %w", err)
	}
	n, err := io.Copy(&roomy{Writer: f, room: s.room}, r)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = syncDir(filepath.Dir(path)) // or the name could be lost with the power, though the bytes are there
	}
	if err != nil {
		return stored{}, errors.Join(fmt.Errorf("spool message: %w", err), os.Remove(path))
	}
	return stored{file: name, size: n}, nil
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// remove deletes a spool file that no row names. It does not matter if that fails: the next start sweeps what is left.
func (s *Store) remove(name string) {
	if name != "" {
		_ = os.Remove(filepath.Join(s.dir, spoolDir, name))
	}
}

// discard deletes a spool file whose row could not be written, and keeps it if the row is there after all: a disk that is
// full must not be filled further by those who try again.
func (s *Store) discard(name string) {
	var one int
	if err := s.read.QueryRow("SELECT 1 FROM messages WHERE spool = ?", name).Scan(&one); errors.Is(err, sql.ErrNoRows) {
		s.remove(name)
	}
}

// sweep ends what a former process left: its claims, and spool files without a row.
func (s *Store) sweep() error {
	if err := s.transact(func(tx *sql.Tx) error { return lapse(tx, time.Now(), "claim IS NOT NULL") }); err != nil {
		return err
	}
	named, err := s.spoolFiles()
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(s.dir, spoolDir))
	if err != nil {
		return fmt.Errorf("sweep spool: %w", err)
	}
	for _, e := range entries {
		if !named[e.Name()] {
			s.remove(e.Name())
		}
	}
	return nil
}

func (s *Store) spoolFiles() (map[string]bool, error) {
	rows, err := s.read.Query("SELECT spool FROM messages WHERE spool IS NOT NULL")
	if err != nil {
		return nil, fmt.Errorf("read spool: %w", err)
	}
	defer rows.Close()
	named := map[string]bool{}
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, fmt.Errorf("read spool: %w", err)
		}
		named[name] = true
	}
	return named, rows.Err()
}
