package redis

import (
	"context"
	"fmt"
	"time"
)

// deliveryMemory is how long a delivery is remembered.
const deliveryMemory = 90 * 24 * time.Hour

type deliveries struct{ *Store }

func deliveryKey(id string) string { return prefix + "delivered:" + id }

// Note implements inbound.Deliveries.
func (s deliveries) Note(ctx context.Context, id string) error {
	if err := s.client.Set(ctx, deliveryKey(id), 1, deliveryMemory).Err(); err != nil {
		return fmt.Errorf("note a delivery: %w", err)
	}
	return nil
}

// Has implements inbound.Deliveries.
func (s deliveries) Has(ctx context.Context, id string) (bool, error) {
	n, err := s.client.Exists(ctx, deliveryKey(id)).Result()
	if err != nil {
		return false, fmt.Errorf("look for a delivery: %w", err)
	}
	return n > 0, nil
}
