package file

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/outbound"
)

type outbox struct{ *Store }

// errNobody refuses a message that could never be settled.
var errNobody = fault.Newf(fault.Permanent, "the message has no recipients")

// Add implements outbound.Outbox.
func (s outbox) Add(ctx context.Context, m outbound.Submission) (string, error) {
	if len(m.Envelope.Recipients) == 0 {
		return "", errNobody
	}
	if err := s.room(); err != nil {
		return "", err
	}
	envelope, err := json.Marshal(m.Envelope)
	if err != nil {
		return "", fmt.Errorf("add message: %w", err)
	}
	head := heads.Get().(*bytes.Buffer)
	defer heads.Put(head)
	b, err := s.store(m.Body, head)
	if err != nil {
		return "", err
	}
	id, twice, err := s.addRow(ctx, m, envelope, b)
	if err != nil {
		s.discard(b.file)
		return "", fmt.Errorf("add message: %w", err)
	}
	if twice {
		s.remove(b.file)
	} else {
		s.signal()
	}
	return strconv.FormatInt(id, 10), nil
}

// addRow makes the message of its bytes, unless the same request did before.
func (s outbox) addRow(ctx context.Context, m outbound.Submission, envelope []byte, b stored) (id int64, twice bool, err error) {
	err = s.change(ctx, func(tx *sql.Tx) (err error) {
		if id, err = requested(ctx, tx, m.Mailbox, m.Request); err != nil || id != 0 {
			twice = true
			return err
		}
		id, err = insert(tx, m, envelope, b)
		return err
	})
	return id, twice, err
}

func insert(tx *sql.Tx, m outbound.Submission, envelope []byte, b stored) (int64, error) {
	now := micros(time.Now())
	file := sql.NullString{String: b.file, Valid: b.file != ""}
	result, err := tx.Exec("INSERT INTO messages (mailbox, envelope, size, accepted, next, spool, open) VALUES (?, ?, ?, ?, ?, ?, ?)",
		m.Mailbox, string(envelope), b.size, now, now, file, len(m.Envelope.Recipients))
	if err != nil {
		return 0, err
	}
	id, err := result.LastInsertId()
	if err != nil {
		return 0, err
	}
	if b.file == "" {
		if _, err := tx.Exec("INSERT INTO bodies (message, body) VALUES (?, ?)", id, b.body); err != nil {
			return 0, err
		}
	}
	for i, r := range m.Envelope.Recipients {
		if _, err := tx.Exec("INSERT INTO recipients (message, position, address, state, reason, changed) VALUES (?, ?, ?, ?, '', ?)",
			id, i, r.Address, outbound.Queued, now); err != nil {
			return 0, err
		}
	}
	return id, remember(tx, m, id, now.Int64)
}

// Open implements outbound.Outbox.
func (s outbox) Open(ctx context.Context, j outbound.Job) (io.ReadCloser, error) {
	var body []byte
	var file sql.NullString
	err := s.read.QueryRowContext(ctx, "SELECT body, spool FROM messages LEFT JOIN bodies ON message = id WHERE id = ?", j.ID).Scan(&body, &file)
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
