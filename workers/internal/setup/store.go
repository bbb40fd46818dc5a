package setup

import (
	"context"
	"log/slog"

	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/state/file"
	"mailporter/workers/internal/state/redis"
)

// Store is an opened state, whatever the engine.
type Store interface {
	Checkpoints() inbound.Checkpoints
	Quarantine() inbound.Quarantine
	Outbox() outbound.Outbox
	// Ping says whether it works, for /readyz.
	Ping() error
	Close() error
}

func openFile(dir string) (Store, error) { return file.Open(dir) }

func openRedis(ctx context.Context, url string, log *slog.Logger) (Store, error) {
	return redis.Open(ctx, url, log)
}
