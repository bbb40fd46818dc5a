package redis

import (
	_ "embed"

	"github.com/redis/go-redis/v9"
)

// The outbox's scripts share what they know about a job; see outbox.lua. KEYS are always due, claimed, all; the keys of
// jobs are made from ARGV[1], which is the mailbox's prefix with its hash tag.
var (
	//go:embed outbox.lua
	outboxLua string

	addJob     = redis.NewScript(outboxLua + "return add()")
	claimJobs  = redis.NewScript(outboxLua + "return claim()")
	extendJob  = redis.NewScript(outboxLua + "return extend()")
	settleJob  = redis.NewScript(outboxLua + "return settle()")
	nextJob    = redis.NewScript(outboxLua + "return next_due()")
	listJobs   = redis.NewScript(outboxLua + "return list()")
	dueOfBoxes = redis.NewScript(outboxLua + "return head()")
)
