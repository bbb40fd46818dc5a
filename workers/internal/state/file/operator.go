package file

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"mailporter/workers/internal/outbound"
)

// Retry implements outbound.Outbox.
func (s outbox) Retry(ctx context.Context, id string) error {
	err := s.change(ctx, func(tx *sql.Tx) error {
		now := time.Now()
		if err := idle(tx, id, now); err != nil {
			return err
		}
		result, err := tx.Exec("UPDATE recipients SET state = ?, reason = '', changed = ? WHERE message = ? AND state <> ?",
			outbound.Queued, now.UnixMicro(), id, outbound.Sent)
		if err != nil {
			return err
		}
		open, err := result.RowsAffected()
		if err != nil {
			return err
		}
		_, err = tx.Exec("UPDATE messages SET accepted = ?, next = ?, open = ?, attempts = 0, doubt = 0 WHERE id = ?", now.UnixMicro(), now.UnixMicro(), open, id)
		return err
	})
	if err != nil {
		return fmt.Errorf("try message %s again: %w", id, err)
	}
	s.signal()
	return nil
}

// Drop implements outbound.Outbox.
func (s outbox) Drop(ctx context.Context, id string) error {
	var spool sql.NullString
	err := s.change(ctx, func(tx *sql.Tx) error {
		if err := idle(tx, id, time.Now()); err != nil {
			return err
		}
		return tx.QueryRow("DELETE FROM messages WHERE id = ? RETURNING spool", id).Scan(&spool)
	})
	if err != nil {
		return fmt.Errorf("drop message %s: %w", id, err)
	}
	s.remove(spool.String)
	return nil
}

// idle is nil if the message is there and nobody is sending it.
func idle(tx *sql.Tx, id string, now time.Time) error {
	if err := lapse(tx, now, "claim IS NOT NULL AND until <= ?", now.UnixMicro()); err != nil {
		return err
	}
	var claimed bool
	err := tx.QueryRow("SELECT claim IS NOT NULL FROM messages WHERE CAST(id AS TEXT) = ?", id).Scan(&claimed)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return outbound.ErrNone
	case err == nil && claimed:
		return outbound.ErrClaimed
	}
	return err
}
