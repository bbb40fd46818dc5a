package file

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
)

// gone is the reason of recipients whose sender ended without a word.
const gone = "the worker that was sending it is gone"

// lapse ends the claims that match: their jobs are due at once, and in doubt. At the start that is every claim, because
// whoever made it is dead.
func lapse(tx *sql.Tx, now time.Time, where string, args ...any) error {
	_, err := tx.Exec(`UPDATE recipients SET state = ?, reason = ?, changed = ?
		WHERE state = ? AND message IN (SELECT id FROM messages WHERE `+where+")",
		append([]any{outbound.Unknown, gone, now.UnixMicro(), outbound.Sending}, args...)...)
	if err != nil {
		return err
	}
	_, err = tx.Exec("UPDATE messages SET next = min(until, ?), claim = NULL, until = NULL, doubt = 1, attempts = attempts + 1 WHERE "+where,
		append([]any{now.UnixMicro()}, args...)...)
	return err
}

// Claim implements outbound.Outbox.
func (s outbox) Claim(ctx context.Context, mailboxes []string, limit, most int, ttl time.Duration) (jobs []outbound.Job, err error) {
	err = s.change(ctx, func(tx *sql.Tx) (err error) {
		jobs, err = claimDue(tx, mailboxes, limit, most, time.Now(), ttl)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("claim messages: %w", err)
	}
	return jobs, nil
}

// claimDue claims what waits for an attempt, after ending the claims that are over.
func claimDue(tx *sql.Tx, mailboxes []string, limit, most int, now time.Time, ttl time.Duration) ([]outbound.Job, error) {
	if err := lapse(tx, now, "claim IS NOT NULL AND until <= ?", now.UnixMicro()); err != nil {
		return nil, err
	}
	due, err := due(tx, mailboxes, limit, most, now)
	if err != nil {
		return nil, err
	}
	var jobs []outbound.Job
	for _, c := range due[:min(most, len(due))] {
		j, err := claim(tx, c.id, now, ttl)
		if err != nil {
			return nil, err
		}
		jobs = append(jobs, j)
	}
	return jobs, nil
}

type candidate struct{ id, next int64 }

// due lists what waits for an attempt, the longest waiting first, of each mailbox only as many as its limit leaves.
func due(tx *sql.Tx, mailboxes []string, limit, most int, now time.Time) ([]candidate, error) {
	waiting, err := waiting(tx)
	if err != nil {
		return nil, err
	}
	var all []candidate
	for _, m := range mailboxes {
		if !waiting[m] {
			continue
		}
		some, err := dueOf(tx, m, limit, most, now)
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	slices.SortFunc(all, func(a, b candidate) int { return cmp.Or(cmp.Compare(a.next, b.next), cmp.Compare(a.id, b.id)) })
	return all, nil
}

// waiting says which mailboxes have unclaimed jobs. A worker may have a thousand mailboxes, few of which have mail: this
// walks the index from one mailbox to the next.
func waiting(tx *sql.Tx) (map[string]bool, error) {
	rows, err := tx.Query(`WITH RECURSIVE box (name) AS (
		SELECT min(mailbox) FROM messages WHERE claim IS NULL AND next IS NOT NULL
		UNION ALL SELECT (SELECT min(mailbox) FROM messages WHERE claim IS NULL AND next IS NOT NULL AND mailbox > name) FROM box WHERE name IS NOT NULL)
		SELECT name FROM box WHERE name IS NOT NULL`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := map[string]bool{}
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		all[name] = true
	}
	return all, rows.Err()
}

func dueOf(tx *sql.Tx, mailbox string, limit, most int, now time.Time) ([]candidate, error) {
	rows, err := tx.Query(`SELECT id, next FROM messages WHERE mailbox = ? AND claim IS NULL AND next <= ? ORDER BY next, id
		LIMIT max(0, min(?, ? - (SELECT count(*) FROM messages WHERE mailbox = ? AND claim IS NOT NULL)))`,
		mailbox, now.UnixMicro(), most, limit, mailbox)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []candidate
	for rows.Next() {
		var c candidate
		if err := rows.Scan(&c.id, &c.next); err != nil {
			return nil, err
		}
		all = append(all, c)
	}
	return all, rows.Err()
}

func claim(tx *sql.Tx, id int64, now time.Time, ttl time.Duration) (outbound.Job, error) {
	j := outbound.Job{ID: strconv.FormatInt(id, 10), Claim: rand.Text()}
	var envelope string
	var accepted sql.NullInt64
	err := tx.QueryRow("UPDATE messages SET claim = ?, until = ? WHERE id = ? RETURNING mailbox, envelope, size, attempts, doubt, draft, accepted",
		j.Claim, now.Add(ttl).UnixMicro(), id).Scan(&j.Mailbox, &envelope, &j.Size, &j.Attempts, &j.InDoubt, &j.Draft, &accepted)
	if err != nil {
		return j, err
	}
	j.Accepted = moment(accepted)
	if err := json.Unmarshal([]byte(envelope), &j.Envelope); err != nil {
		return j, err
	}
	if j.Envelope.Recipients, err = open(tx, id, j.Envelope.Recipients); err != nil {
		return j, err
	}
	_, err = tx.Exec("UPDATE recipients SET state = ?, changed = ? WHERE message = ? AND state NOT IN (?, ?)",
		outbound.Sending, now.UnixMicro(), id, outbound.Sent, outbound.Dead)
	return j, err
}

// open leaves the recipients that are neither sent nor dead.
func open(tx *sql.Tx, id int64, all []mail.Recipient) ([]mail.Recipient, error) {
	rows, err := tx.Query("SELECT position FROM recipients WHERE message = ? AND state NOT IN (?, ?) ORDER BY position", id, outbound.Sent, outbound.Dead)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var left []mail.Recipient
	for rows.Next() {
		var position int
		if err := rows.Scan(&position); err != nil {
			return nil, err
		}
		left = append(left, all[position])
	}
	return left, rows.Err()
}

// Extend implements outbound.Outbox.
func (s outbox) Extend(ctx context.Context, j outbound.Job, ttl time.Duration) error {
	return s.change(ctx, func(tx *sql.Tx) error {
		now := time.Now()
		return held(tx.Exec("UPDATE messages SET until = ? WHERE id = ? AND claim = ? AND until > ?",
			now.Add(ttl).UnixMicro(), j.ID, j.Claim, now.UnixMicro()))
	})
}

// Drafted implements outbound.Outbox.
func (s outbox) Drafted(ctx context.Context, j outbound.Job, draft string) error {
	return s.change(ctx, func(tx *sql.Tx) error {
		return held(tx.Exec("UPDATE messages SET draft = ? WHERE id = ? AND claim = ? AND until > ?", draft, j.ID, j.Claim, time.Now().UnixMicro()))
	})
}

// held turns an update that met no row into ErrLost.
func held(result sql.Result, err error) error {
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n == 1 {
		return err
	}
	return outbound.ErrLost
}
