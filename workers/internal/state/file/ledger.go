package file

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/outbound"
)

type ledger struct{ *Store }

// Book implements outbound.Ledger.
func (s ledger) Book(ctx context.Context, mailbox string, limits []tokenclient.Limit, c outbound.Cost) (outbound.Wait, error) {
	var wait outbound.Wait
	err := s.change(ctx, func(tx *sql.Tx) (err error) {
		now := time.Now()
		if wait, err = room(tx, mailbox, limits, c, now); err != nil || !wait.Until.IsZero() {
			return err
		}
		if _, err := tx.Exec("DELETE FROM sent WHERE ends <= ?", now.UnixMicro()); err != nil {
			return err
		}
		for _, l := range limits {
			slot := outbound.SlotOf(l, now)
			_, err := tx.Exec(`INSERT INTO sent (mailbox, unit, window, slot, amount, ends) VALUES (?, ?, ?, ?, ?, ?)
				ON CONFLICT DO UPDATE SET amount = amount + excluded.amount`,
				mailbox, l.Unit, l.Window.Microseconds(), slot, c.Of(l.Unit), outbound.EndOf(l, slot).UnixMicro())
			if err != nil {
				return err
			}
		}
		wait.Booked = now
		return nil
	})
	if err != nil {
		return outbound.Wait{}, fmt.Errorf("book a message: %w", err)
	}
	return wait, nil
}

// Unbook implements outbound.Ledger.
func (s ledger) Unbook(ctx context.Context, mailbox string, limits []tokenclient.Limit, c outbound.Cost, booked time.Time) error {
	err := s.change(ctx, func(tx *sql.Tx) error {
		for _, l := range limits {
			_, err := tx.Exec("UPDATE sent SET amount = max(0, amount - ?) WHERE mailbox = ? AND unit = ? AND window = ? AND slot = ?",
				c.Of(l.Unit), mailbox, l.Unit, l.Window.Microseconds(), outbound.SlotOf(l, booked))
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("give a booking back: %w", err)
	}
	return nil
}

// room is how long a message must wait for the last of its limits, or for the mailbox to open.
func room(tx *sql.Tx, mailbox string, limits []tokenclient.Limit, c outbound.Cost, now time.Time) (wait outbound.Wait, err error) {
	if wait, err = closed(tx, mailbox, now); err != nil {
		return wait, err
	}
	for _, l := range limits {
		sent, err := sentIn(tx, mailbox, l)
		if err != nil {
			return wait, err
		}
		if at := outbound.Room(l, sent, c.Of(l.Unit), now); at.After(wait.Until) {
			wait = outbound.Wait{Until: at, Why: outbound.UsedUp(l)}
		}
	}
	return wait, nil
}

// closed is until when the provider wants patience; the zero value: it does not.
func closed(tx querier, mailbox string, now time.Time) (wait outbound.Wait, err error) {
	var until sql.NullInt64
	err = tx.QueryRow("SELECT max(until), coalesce(why, '') FROM closed WHERE mailbox = ? AND until > ?", mailbox, now.UnixMicro()).Scan(&until, &wait.Why)
	wait.Until = moment(until)
	return wait, err
}

// sentIn is what was sent, by part of the limit's window.
func sentIn(tx querier, mailbox string, l tokenclient.Limit) (map[int64]int64, error) {
	rows, err := tx.Query("SELECT slot, amount FROM sent WHERE mailbox = ? AND unit = ? AND window = ?", mailbox, l.Unit, l.Window.Microseconds())
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	sent := map[int64]int64{}
	for rows.Next() {
		var slot, amount int64
		if err := rows.Scan(&slot, &amount); err != nil {
			return nil, err
		}
		sent[slot] = amount
	}
	return sent, rows.Err()
}

// Close implements outbound.Ledger.
func (s ledger) Close(ctx context.Context, mailbox string, until time.Time, why string) error {
	err := s.change(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(`INSERT INTO closed (mailbox, until, why) VALUES (?, ?, ?)
			ON CONFLICT DO UPDATE SET until = excluded.until, why = excluded.why WHERE excluded.until > until`, mailbox, until.UnixMicro(), why)
		return err
	})
	if err != nil {
		return fmt.Errorf("close a mailbox: %w", err)
	}
	return nil
}

// Usage implements outbound.Ledger.
func (s ledger) Usage(_ context.Context, mailbox string, limits []tokenclient.Limit) (outbound.Usage, error) {
	u := outbound.Usage{Now: time.Now(), Sent: make([]map[int64]int64, len(limits))}
	var err error
	if u.Closed, err = closed(s.read, mailbox, u.Now); err != nil {
		return outbound.Usage{}, fmt.Errorf("read what was sent: %w", err)
	}
	for i, l := range limits {
		if u.Sent[i], err = sentIn(s.read, mailbox, l); err != nil {
			return outbound.Usage{}, fmt.Errorf("read what was sent: %w", err)
		}
	}
	return u, nil
}
