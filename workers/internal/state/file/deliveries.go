package file

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// deliveryMemory is how long a delivery is remembered.
const deliveryMemory = 90 * 24 * time.Hour

type deliveries struct{ *Store }

// Note implements inbound.Deliveries. What is old goes on the way.
func (s deliveries) Note(ctx context.Context, id string) error {
	err := s.change(ctx, func(tx *sql.Tx) error {
		now := time.Now()
		if _, err := tx.Exec("DELETE FROM deliveries WHERE noted < ?", now.Add(-deliveryMemory).UnixMicro()); err != nil {
			return err
		}
		_, err := tx.Exec("INSERT INTO deliveries (id, noted) VALUES (?, ?) ON CONFLICT DO NOTHING", id, now.UnixMicro())
		return err
	})
	if err != nil {
		return fmt.Errorf("note a delivery: %w", err)
	}
	return nil
}

// Has implements inbound.Deliveries.
func (s deliveries) Has(ctx context.Context, id string) (bool, error) {
	var one int
	err := s.read.QueryRowContext(ctx, "SELECT 1 FROM deliveries WHERE id = ?", id).Scan(&one)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for a delivery: %w", err)
	}
	return true, nil
}
