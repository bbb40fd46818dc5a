package redis

import (
	"context"
	"log/slog"
	"strings"

	"github.com/redis/go-redis/v9"
)

// check looks once whether this Redis would lose refresh tokens, and says so in the log. Managed services forbid CONFIG,
// so it reads INFO.
func check(ctx context.Context, client redis.UniversalClient, log *slog.Logger) {
	info, err := client.Info(ctx, "persistence", "memory").Result()
	if err != nil {
		if ctx.Err() == nil {
			log.Warn("redis does not answer yet; tokens are kept in memory and rotating refresh tokens wait", "error", err)
		}
		return
	}
	for _, w := range warnings(fields(info)) {
		log.Warn("redis may lose rotated refresh tokens", "because", w)
	}
}

func fields(info string) map[string]string {
	all := map[string]string{}
	for line := range strings.Lines(info) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			all[k] = v
		}
	}
	return all
}

func warnings(info map[string]string) []string {
	var all []string
	if info["aof_enabled"] == "0" {
		all = append(all, "appendonly is off: what was written since the last snapshot is lost with the process; set appendonly yes")
	}
	// volatile-* drops only keys that lapse anyway: tokens and leases.
	if policy := info["maxmemory_policy"]; info["maxmemory"] != "0" && strings.HasPrefix(policy, "allkeys") {
		all = append(all, "maxmemory-policy is "+policy+": records may be evicted; set noeviction or volatile-ttl")
	}
	return all
}
