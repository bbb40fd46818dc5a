package file

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
)

// errClosed says that the store was closed before the change was made.
var errClosed = errors.New("the state was closed")

// job is a change that waits for its turn. do runs inside a transaction that others share; its error undoes it alone.
type job struct {
	ctx  context.Context
	do   func(*sql.Tx) error
	done chan error
}

// maxBatch bounds how long the first of a batch waits for the last.
const maxBatch = 128

// change makes a change and returns once it is durable. When ctx ends while it waits the change may be made all the same.
func (s *Store) change(ctx context.Context, do func(*sql.Tx) error) error {
	j := job{ctx, do, make(chan error, 1)}
	select {
	case s.jobs <- j:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closing:
		return errClosed
	}
	return <-j.done
}

// run is the only goroutine that writes.
func (s *Store) run() {
	defer close(s.ended)
	for {
		select {
		case j := <-s.jobs:
			s.commit(s.gather(j))
		case <-s.closing:
			return
		}
	}
}

// gather takes everybody who waits right now: they share one fsync.
func (s *Store) gather(first job) []job {
	batch := []job{first}
	for len(batch) < maxBatch {
		select {
		case j := <-s.jobs:
			batch = append(batch, j)
		default:
			return batch
		}
	}
	return batch
}

// commit makes the changes of a batch in one transaction. Each hears its own error; a commit that does not go through is
// everybody's.
func (s *Store) commit(batch []job) {
	results := make([]error, len(batch))
	err := s.transact(func(tx *sql.Tx) error {
		for i, j := range batch {
			var err error
			if results[i], err = attempt(tx, j); err != nil {
				return err
			}
		}
		return nil
	})
	for i := range batch {
		if err != nil && results[i] == nil {
			results[i] = err
		}
	}
	s.note(results)
	for i, j := range batch {
		j.done <- results[i]
	}
}

// note remembers whether the disk took the last changes.
func (s *Store) note(results []error) {
	var ill *error
	if i := slices.IndexFunc(results, disk); i >= 0 {
		ill = &results[i]
	}
	s.ill.Store(ill)
}

func (s *Store) transact(do func(*sql.Tx) error) error {
	tx, err := s.write.Begin()
	if err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	if err := do(tx); err != nil {
		return errors.Join(fmt.Errorf("write state: %w", err), tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		// SQLite may keep a transaction open that it could not commit; the next one would not begin.
		_, _ = s.write.Exec("ROLLBACK") // most often there is none left, and that is the error
		return fmt.Errorf("write state: %w", err)
	}
	return nil
}

// attempt makes one change inside a savepoint. failed is the change's own error, which leaves no trace of it; broken is
// one that spoils the whole transaction.
func attempt(tx *sql.Tx, j job) (failed, broken error) {
	if err := j.ctx.Err(); err != nil {
		return err, nil
	}
	if _, err := tx.Exec("SAVEPOINT one"); err != nil {
		return nil, err
	}
	if failed = j.do(tx); failed != nil {
		if _, err := tx.Exec("ROLLBACK TO one"); err != nil {
			return failed, err
		}
	}
	_, broken = tx.Exec("RELEASE one")
	return failed, broken
}
