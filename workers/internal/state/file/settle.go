package file

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"mailporter/workers/internal/outbound"
)

// Settle implements outbound.Outbox.
func (s outbox) Settle(ctx context.Context, j outbound.Job, v outbound.Verdict) error {
	return s.settle(ctx, j, v, func(*sql.Tx, time.Time) error { return nil })
}

// SettleAndClaim implements outbound.Outbox.
func (s outbox) SettleAndClaim(ctx context.Context, j outbound.Job, v outbound.Verdict, limit int, ttl time.Duration) (next []outbound.Job, err error) {
	err = s.settle(ctx, j, v, func(tx *sql.Tx, now time.Time) (err error) {
		next, err = claimDue(tx, []string{j.Mailbox}, limit, 1, now, ttl)
		return err
	})
	if err != nil {
		return nil, err
	}
	return next, nil
}

// settle ends a claim and does what is to share its commit.
func (s outbox) settle(ctx context.Context, j outbound.Job, v outbound.Verdict, then func(*sql.Tx, time.Time) error) error {
	var left string
	err := s.change(ctx, func(tx *sql.Tx) (err error) {
		now := time.Now()
		if err := end(tx, j, v, now); err != nil {
			return err
		}
		if err := mark(tx, j.ID, v, now); err != nil {
			return err
		}
		if left, err = leave(tx, j.ID); err != nil {
			return err
		}
		return then(tx, now)
	})
	if err != nil {
		return fmt.Errorf("settle message %s: %w", j.ID, err)
	}
	s.remove(left)
	s.signal()
	return nil
}

// end gives the claim back and plans the next attempt, or answers ErrLost.
func end(tx *sql.Tx, j outbound.Job, v outbound.Verdict, now time.Time) error {
	next := micros(v.At)
	if len(v.Later) == 0 || v.Held {
		next = sql.NullInt64{}
	}
	made := 1
	if v.Free {
		made = 0
	}
	return held(tx.Exec("UPDATE messages SET claim = NULL, until = NULL, doubt = ?, next = iif(?, next, ?), open = ?, attempts = attempts + ? WHERE id = ? AND claim = ? AND until > ?",
		v.Doubt, v.Stays, next, len(v.Later), made, j.ID, j.Claim, now.UnixMicro()))
}

// mark gives every recipient its state.
func mark(tx *sql.Tx, id string, v outbound.Verdict, now time.Time) error {
	set := func(address string, to outbound.State, reason string) error {
		_, err := tx.Exec("UPDATE recipients SET state = ?, reason = ?, changed = ? WHERE message = ? AND address = ? AND state NOT IN (?, ?)",
			to, reason, now.UnixMicro(), id, address, outbound.Sent, outbound.Dead)
		return err
	}
	later := outbound.Deferred
	if v.Doubt {
		later = outbound.Unknown
	}
	for _, a := range v.Sent {
		if err := set(a, outbound.Sent, ""); err != nil {
			return err
		}
	}
	for _, f := range v.Dead {
		if err := set(f.Address, outbound.Dead, f.Reason); err != nil {
			return err
		}
	}
	for _, f := range v.Later {
		if err := set(f.Address, later, f.Reason); err != nil {
			return err
		}
	}
	return nil
}

// leave deletes a message that everybody has and returns its spool file. Nobody needs the bytes of dead recipients' mail
// less than an operator who wants to send it again: those are kept.
func leave(tx *sql.Tx, id string) (spool string, err error) {
	var open int
	if err := tx.QueryRow("SELECT count(*) FROM recipients WHERE message = ? AND state <> ?", id, outbound.Sent).Scan(&open); err != nil || open > 0 {
		return "", err
	}
	if err := keepSent(tx, id); err != nil {
		return "", err
	}
	var file sql.NullString
	err = tx.QueryRow("DELETE FROM messages WHERE id = ? RETURNING spool", id).Scan(&file)
	return file.String, err
}
