package file

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"mailporter/workers/internal/outbound"
)

// requested is the id of the message that was added with this request, 0 if there is none.
func requested(ctx context.Context, q interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}, mailbox, request string) (id int64, err error) {
	if request == "" {
		return 0, nil
	}
	err = q.QueryRowContext(ctx, "SELECT message FROM requests WHERE mailbox = ? AND request = ?", mailbox, request).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return id, err
}

// Requested implements outbound.Outbox.
func (s outbox) Requested(ctx context.Context, mailbox, request string) (string, error) {
	id, err := requested(ctx, s.read, mailbox, request)
	switch {
	case err != nil:
		return "", fmt.Errorf("look for a request: %w", err)
	case id == 0:
		return "", nil
	}
	return strconv.FormatInt(id, 10), nil
}

// remember notes the request of a message, and forgets those that nobody will repeat.
func remember(tx *sql.Tx, m outbound.Submission, id, now int64) error {
	if m.Request == "" {
		return nil
	}
	if _, err := tx.Exec("DELETE FROM requests WHERE added < ?", now-requestMemory.Microseconds()); err != nil {
		return err
	}
	_, err := tx.Exec("INSERT INTO requests (mailbox, request, message, added) VALUES (?, ?, ?, ?)", m.Mailbox, m.Request, id, now)
	return err
}

// keepSent writes down how a message stands that everybody has, if somebody may ask for it.
func keepSent(tx *sql.Tx, id string) error {
	var asked bool
	if err := tx.QueryRow("SELECT EXISTS (SELECT 1 FROM requests WHERE message = ?)", id).Scan(&asked); err != nil || !asked {
		return err
	}
	m, err := get(context.Background(), tx, id) // the transaction has a context of its own
	if err != nil {
		return err
	}
	m.Next = time.Time{}
	text, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = tx.Exec("UPDATE requests SET sent = ? WHERE message = ?", string(text), id)
	return err
}

// Sent implements outbound.Outbox.
func (s outbox) Sent(ctx context.Context, id string) (m outbound.Status, err error) {
	var text string
	err = s.read.QueryRowContext(ctx, "SELECT sent FROM requests WHERE CAST(message AS TEXT) = ? AND message = ? AND sent IS NOT NULL", id, id).Scan(&text)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return m, outbound.ErrNone
	case err != nil:
		return m, fmt.Errorf("read what was sent: %w", err)
	}
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return m, fmt.Errorf("read what was sent: %w", err)
	}
	return m, nil
}
