// Package program is what the workers' programs have in common: one kind brings mail in, one sends it, one does both, and
// all are made of the same parts whatever protocol they speak. A worker's own main names its protocol and hands over the edge.
package program

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mailporter/kit/daemon"
	"mailporter/workers/internal/setup"
)

// base is what both halves of a worker stand on.
type base struct {
	frame  *daemon.Frame
	config setup.Config
	store  setup.Store
	broker *setup.Broker
}

// open opens the state and prepares the way to the broker.
func open(ctx context.Context, f *daemon.Frame, c setup.Config) (*base, error) {
	store, err := c.State.Open(ctx, f.Log)
	if err != nil {
		return nil, fmt.Errorf("open state: %w", err)
	}
	broker, err := c.Dial(f)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return &base{f, c, store, broker}, nil
}

func (b *base) close() error { return errors.Join(b.broker.Close(), b.store.Close()) }

// pingEvery is how often the state is asked whether it works.
const pingEvery = 5 * time.Second

// ping keeps /readyz up to date about the state until ctx ends.
func ping(ctx context.Context, h *daemon.Health, store setup.Store) {
	t := time.NewTicker(pingEvery)
	defer t.Stop()
	for {
		h.SetReady("state", store.Ping())
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}
