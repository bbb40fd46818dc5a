package file

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"mailporter/workers/internal/outbound"
)

type outbox struct{ *Store }

// Add implements outbound.Outbox.
func (s outbox) Add(ctx context.Context, m outbound.Submission) (string, error) {
	envelope, err := json.Marshal(m.Envelope)
	if err != nil {
		return "", fmt.Errorf("add message: %w", err)
	}
	bytes, err := s.store(m.Body)
	if err != nil {
		return "", err
	}
	var id int64
	var twice bool
	err = s.change(ctx, func(tx *sql.Tx) (err error) {
		if id, err = requested(tx, m.Request); err == nil && id != 0 {
			twice = true
			return nil
		}
		if err == nil {
			id, err = insert(tx, m, envelope, bytes)
		}
		return err
	})
	if err != nil {
		// The file stays: when only the answer of the commit was lost, a row may name it. The next start sweeps it.
		return "", fmt.Errorf("add message: %w", err)
	}
	if twice {
		return strconv.FormatInt(id, 10), s.remove(bytes.file)
	}
	s.signal()
	return strconv.FormatInt(id, 10), nil
}

// requested is the id of the message that was added with this request, 0 if there is none.
func requested(tx *sql.Tx, request string) (id int64, err error) {
	if request == "" {
		return 0, nil
	}
	err = tx.QueryRow("SELECT message FROM requests WHERE request = ?", request).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return id, err
}

func insert(tx *sql.Tx, m outbound.Submission, envelope []byte, b stored) (int64, error) {
	now := micros(time.Now())
	file := sql.NullString{String: b.file, Valid: b.file != ""}
	result, err := tx.Exec("INSERT INTO messages (mailbox, envelope, size, accepted, next, body, spool) VALUES (?, ?, ?, ?, ?, ?, ?)",
		m.Mailbox, string(envelope), b.size, now, now, b.body, file)
	if err != nil {
		return 0, err
	}
	id, err := result.LastInsertId()
	if err != nil {
		return 0, err
	}
	for i, r := range m.Envelope.Recipients {
		if _, err := tx.Exec("INSERT INTO recipients (message, position, address, state, reason, changed) VALUES (?, ?, ?, ?, '', ?)",
			id, i, r.Address, outbound.Queued, now); err != nil {
			return 0, err
		}
	}
	if m.Request != "" {
		_, err = tx.Exec("INSERT INTO requests (request, message, added) VALUES (?, ?, ?)", m.Request, id, now)
	}
	return id, err
}

// Open implements outbound.Outbox.
func (s outbox) Open(ctx context.Context, j outbound.Job) (io.ReadCloser, error) {
	var body []byte
	var file sql.NullString
	err := s.read.QueryRowContext(ctx, "SELECT body, spool FROM messages WHERE id = ?", j.ID).Scan(&body, &file)
	if err != nil {
		return nil, fmt.Errorf("open message %s: %w", j.ID, err)
	}
	if !file.Valid {
		return io.NopCloser(bytes.NewReader(body)), nil
	}
	f, err := os.Open(filepath.Join(s.dir, spoolDir, file.String))
	if err != nil {
		return nil, fmt.Errorf("open message %s: %w", j.ID, err)
	}
	return f, nil
}

// Changed implements outbound.Outbox.
func (s outbox) Changed() <-chan struct{} { return s.changed }

func (s *Store) signal() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}
