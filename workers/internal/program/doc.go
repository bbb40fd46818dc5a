// Package program is what the workers' programs have in common: one kind brings mail in, the other sends it, and both are
// made of the same parts whatever protocol they speak. A worker's own main names its protocol and hands over the edge.
package program

import (
	"context"
	"time"

	"mailporter/kit/daemon"
	"mailporter/workers/internal/setup"
)

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
