package file

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
)

// Next implements outbound.Outbox. A claim that lapsed is due since then.
func (s outbox) Next(ctx context.Context, mailboxes []string) (time.Time, error) {
	if len(mailboxes) == 0 {
		return time.Time{}, nil
	}
	in := strings.TrimSuffix(strings.Repeat("?, ", len(mailboxes)), ", ")
	var args []any
	for range 2 {
		for _, m := range mailboxes {
			args = append(args, m)
		}
	}
	var next sql.NullInt64
	err := s.read.QueryRowContext(ctx, `SELECT min(at) FROM (
		SELECT min(next) AS at FROM messages WHERE claim IS NULL AND next IS NOT NULL AND mailbox IN (`+in+`)
		UNION ALL SELECT min(until) FROM messages WHERE claim IS NOT NULL AND mailbox IN (`+in+`) AND until <= ?)`,
		append(args, time.Now().UnixMicro())...).Scan(&next)
	if err != nil {
		return time.Time{}, fmt.Errorf("read next attempt: %w", err)
	}
	return moment(next), nil
}

// Backlogs implements outbound.Outbox. The index messages_waiting has all that is asked for: a hundred thousand messages
// are counted in some tens of milliseconds.
func (s outbox) Backlogs(ctx context.Context) ([]outbound.Backlog, error) {
	rows, err := s.read.QueryContext(ctx, "SELECT mailbox, count(*), min(accepted), sum(open), sum(size) FROM messages WHERE next IS NOT NULL GROUP BY mailbox")
	if err != nil {
		return nil, fmt.Errorf("count messages: %w", err)
	}
	defer rows.Close()
	var all []outbound.Backlog
	for rows.Next() {
		var b outbound.Backlog
		var oldest sql.NullInt64
		if err := rows.Scan(&b.Mailbox, &b.Messages, &oldest, &b.Cost.Recipients, &b.Cost.Bytes); err != nil {
			return nil, fmt.Errorf("count messages: %w", err)
		}
		b.Oldest = moment(oldest)
		all = append(all, b)
	}
	return all, rows.Err()
}

// List implements outbound.Outbox.
func (s outbox) List(ctx context.Context, mailbox string, most int) ([]outbound.Status, error) {
	return s.ListAfter(ctx, mailbox, "", most)
}

// ListAfter implements outbound.Outbox. Ids grow with time and are never given again, so a message's place is its id.
func (s outbox) ListAfter(ctx context.Context, mailbox, place string, most int) ([]outbound.Status, error) {
	after := int64(0)
	if place != "" {
		var err error
		if after, err = strconv.ParseInt(place, 10, 64); err != nil || after < 1 {
			return nil, outbound.ErrPlace
		}
	}
	return list(ctx, s.read, "id > ? AND ? IN ('', mailbox)", most, after, mailbox)
}

// Get implements outbound.Outbox.
func (s outbox) Get(ctx context.Context, id string) (outbound.Status, error) {
	return get(ctx, s.read, id)
}

// querier is a transaction, or the connections that only read.
type querier interface {
	Query(query string, args ...any) (*sql.Rows, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRow(query string, args ...any) *sql.Row
}

func get(ctx context.Context, q querier, id string) (outbound.Status, error) {
	found, err := list(ctx, q, "CAST(id AS TEXT) = ?", 1, id)
	if err != nil {
		return outbound.Status{}, err
	}
	if len(found) == 0 {
		return outbound.Status{}, outbound.ErrNone
	}
	return found[0], nil
}

func list(ctx context.Context, q querier, where string, most int, args ...any) ([]outbound.Status, error) {
	rows, err := q.QueryContext(ctx, `SELECT m.id, m.mailbox, m.envelope, m.size, m.accepted, m.attempts,
			CASE WHEN m.claim IS NULL THEN m.next END, r.address, r.state, r.reason, r.changed
		FROM (SELECT * FROM messages WHERE `+where+` ORDER BY id LIMIT ?) m JOIN recipients r ON r.message = m.id
		ORDER BY m.id, r.position`, append(args, most)...)
	if err != nil {
		return nil, fmt.Errorf("list messages: %w", err)
	}
	defer rows.Close()
	var all []outbound.Status
	for rows.Next() {
		m, r, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("list messages: %w", err)
		}
		if len(all) == 0 || all[len(all)-1].ID != m.ID {
			all = append(all, m)
		}
		last := &all[len(all)-1]
		last.Recipients = append(last.Recipients, r)
	}
	return all, rows.Err()
}

func scan(rows *sql.Rows) (m outbound.Status, r outbound.RecipientStatus, err error) {
	var envelope string
	var accepted, next, changed sql.NullInt64
	if err = rows.Scan(&m.ID, &m.Mailbox, &envelope, &m.Size, &accepted, &m.Attempts, &next, &r.Address, &r.State, &r.Reason, &changed); err != nil {
		return m, r, err
	}
	var e mail.Envelope
	if err = json.Unmarshal([]byte(envelope), &e); err != nil {
		return m, r, err
	}
	m.Place, m.From, m.Accepted, m.Next, r.Changed = m.ID, e.From, moment(accepted), moment(next), moment(changed)
	return m, r, nil
}
