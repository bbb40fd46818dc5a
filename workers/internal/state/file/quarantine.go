package file

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/mail"
)

type quarantine struct{ *Store }

// Note implements inbound.Quarantine.
func (s quarantine) Note(ctx context.Context, q inbound.Quarantined) error {
	err := s.change(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(`INSERT INTO quarantine (mailbox, folder, key, id, size, arrived, reason, moved, since) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (mailbox, folder, key) DO UPDATE SET moved = excluded.moved`,
			q.Folder.Mailbox, q.Folder.Name, q.Item.Key, q.Item.ID, q.Item.Size, micros(q.Item.Arrived), q.Reason, q.Moved, micros(q.Since))
		return err
	})
	if err != nil {
		return fmt.Errorf("note quarantined message of %s: %w", q.Folder, err)
	}
	return nil
}

// Has implements inbound.Quarantine.
func (s quarantine) Has(ctx context.Context, f mail.Folder, key string) (bool, error) {
	var one int
	err := s.read.QueryRowContext(ctx, "SELECT 1 FROM quarantine WHERE mailbox = ? AND folder = ? AND key = ?", f.Mailbox, f.Name, key).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read quarantine of %s: %w", f, err)
	}
	return true, nil
}

// List implements inbound.Quarantine.
func (s quarantine) List(ctx context.Context, mailbox string, most int) ([]inbound.Quarantined, error) {
	rows, err := s.read.QueryContext(ctx, `SELECT mailbox, folder, key, id, size, arrived, reason, moved, since FROM quarantine
		WHERE ? IN ('', mailbox) ORDER BY since LIMIT ?`, mailbox, most)
	if err != nil {
		return nil, fmt.Errorf("read quarantine: %w", err)
	}
	defer rows.Close()
	var all []inbound.Quarantined
	for rows.Next() {
		var q inbound.Quarantined
		var arrived, since sql.NullInt64
		if err := rows.Scan(&q.Folder.Mailbox, &q.Folder.Name, &q.Item.Key, &q.Item.ID, &q.Item.Size, &arrived, &q.Reason, &q.Moved, &since); err != nil {
			return nil, fmt.Errorf("read quarantine: %w", err)
		}
		q.Item.Arrived, q.Since = moment(arrived), moment(since)
		all = append(all, q)
	}
	return all, rows.Err()
}

// micros is a time as the database keeps it; the zero time is NULL.
func micros(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.UnixMicro(), Valid: !t.IsZero()}
}

func moment(v sql.NullInt64) time.Time {
	if !v.Valid {
		return time.Time{}
	}
	return time.UnixMicro(v.Int64).UTC()
}
