package redisurl

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// Finding is a setting of a server with which it may lose what it acknowledged.
type Finding struct {
	Server   string // host:port
	Setting  string // as redis.conf calls it
	Is       string
	ShouldBe string
	Because  string
}

// Report is what Inspect saw.
type Report struct {
	Findings []Finding
	Unknown  []string // what the user's rights do not let it see: "appendfsync (CONFIG GET)"
}

// Inspect looks at every primary once. The error says that one did not answer; then the report is not whole. It reads INFO,
// and for what INFO does not tell CONFIG GET, which managed services forbid.
func Inspect(ctx context.Context, client redis.UniversalClient) (Report, error) {
	var mu sync.Mutex
	var all Report
	look := func(ctx context.Context, c *redis.Client) error {
		r, err := inspect(ctx, c)
		mu.Lock()
		defer mu.Unlock()
		all.Findings = append(all.Findings, r.Findings...)
		if len(all.Unknown) == 0 {
			all.Unknown = r.Unknown
		}
		return err
	}
	var err error
	switch c := client.(type) {
	case *redis.ClusterClient:
		err = c.ForEachMaster(ctx, look)
	case *redis.Client:
		err = look(ctx, c)
	}
	return all, err
}

func inspect(ctx context.Context, c *redis.Client) (Report, error) {
	text, err := c.InfoMap(ctx, "server", "persistence", "memory", "replication").Result()
	if forbidden(err) {
		return Report{Unknown: []string{"version, appendonly, maxmemory-policy, replicas (INFO)"}}, nil
	}
	if err != nil {
		return Report{}, fmt.Errorf("inspect redis: %w", err)
	}
	info := map[string]string{}
	for _, section := range text {
		for k, v := range section {
			info[k] = v
		}
	}
	r := Report{Findings: judge(info)}
	fsync, err := c.ConfigGet(ctx, "appendfsync").Result()
	switch {
	case err != nil && !forbidden(err):
		return Report{}, fmt.Errorf("inspect redis: %w", err)
	case fsync["appendfsync"] == "":
		r.Unknown = append(r.Unknown, "appendfsync (CONFIG GET)")
	case info["aof_enabled"] == "1" && fsync["appendfsync"] != "always":
		r.Findings = append(r.Findings, Finding{Setting: "appendfsync", Is: fsync["appendfsync"], ShouldBe: "always",
			Because: "a power cut loses what was written last"})
	}
	for i := range r.Findings {
		r.Findings[i].Server = c.Options().Addr
	}
	return r, nil
}

// forbidden: NOPERM is an ACL's word; services that rename commands know no such command.
func forbidden(err error) bool {
	return redis.HasErrorPrefix(err, "NOPERM") || redis.HasErrorPrefix(err, "ERR unknown command")
}

// leastVersion is that of the commands we use.
const leastVersion = 7

// judge reads the fields of INFO.
func judge(info map[string]string) (all []Finding) {
	add := func(bad bool, setting, is, shouldBe, because string) {
		if bad {
			all = append(all, Finding{Setting: setting, Is: is, ShouldBe: shouldBe, Because: because})
		}
	}
	major, _, _ := strings.Cut(info["redis_version"], ".")
	n, err := strconv.Atoi(major)
	add(err == nil && n < leastVersion, "version", info["redis_version"], "7.0", "older ones lack commands that are used here")
	add(info["aof_enabled"] == "0", "appendonly", "no", "yes", "what was written since the last snapshot is lost with the process")
	add(info["aof_last_write_status"] == "err", "appendonly", "failing", "yes", "the append-only file cannot be written; look at the disk")
	policy := info["maxmemory_policy"]
	add(policy != "" && policy != "noeviction", "maxmemory-policy", policy, "noeviction", "a full memory throws away what was written")
	// INFO has the second field only where min-replicas-to-write is set.
	_, guarded := info["min_slaves_good_slaves"]
	replicas := info["connected_slaves"]
	add(replicas != "" && replicas != "0" && !guarded, "min-replicas-to-write", "0", "1",
		"a primary that lost touch with its replicas takes writes that a failover throws away")
	return all
}
