package redis

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"mailporter/kit/redisurl"
)

// checkPause is the time between two tries while Redis does not answer.
const checkPause = 5 * time.Second

// check looks, as soon as Redis answers, whether it would lose refresh tokens, and says so in the log, once.
func (s *Store) check(ctx context.Context, log *slog.Logger) {
	for tries := 0; ; tries++ {
		r, err := redisurl.Inspect(ctx, s.client)
		if err == nil {
			tell(r, log)
			return
		}
		if tries == 0 && ctx.Err() == nil {
			log.Warn("redis does not answer yet; tokens are kept in memory and rotating refresh tokens wait", "error", err)
		}
		select {
		case <-time.After(checkPause):
		case <-ctx.Done():
			return
		}
	}
}

func tell(r redisurl.Report, log *slog.Logger) {
	for _, f := range r.Findings {
		if f.Setting == "maxmemory-policy" && strings.HasPrefix(f.Is, "volatile-") {
			continue // it drops only keys that lapse anyway: tokens and leases
		}
		log.Warn("redis may lose rotated refresh tokens", "server", f.Server, "setting", f.Setting, "is", f.Is, "should-be", f.ShouldBe, "because", f.Because)
	}
	for _, u := range r.Unknown {
		log.Warn("redis does not let its user see whether it may lose refresh tokens", "setting", u)
	}
}
