package redis

import (
	"context"
	_ "embed"
	"slices"

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
	draftJob   = redis.NewScript(outboxLua + "return drafted()")
	settleJob  = redis.NewScript(outboxLua + "return settle()")
	settleNext = redis.NewScript(outboxLua + "return settle_and_claim()")
	nextJob    = redis.NewScript(outboxLua + "return next_due()")
	getJob     = redis.NewScript(outboxLua + "return get()")
	sentJob    = redis.NewScript(outboxLua + "return sent()")
	retryJob   = redis.NewScript(outboxLua + "return retry()")
	dropJob    = redis.NewScript(outboxLua + "return drop()")
	listJobs   = redis.NewScript(outboxLua + "return list()")
	countJobs  = redis.NewScript(outboxLua + "return backlog()")
)

// mostPiped is for how many mailboxes a script runs in one round trip: Redis keeps all of their answers in memory.
const mostPiped = 1000

// ofAll runs a script that wants no arguments for many mailboxes, many to a round trip, and returns the answers in their
// order.
func (s *Store) ofAll(ctx context.Context, script *redis.Script, mailboxes []string) ([][]string, error) {
	answers := make([][]string, 0, len(mailboxes))
	for some := range slices.Chunk(mailboxes, mostPiped) {
		commands := make([]*redis.Cmd, len(some))
		pipe := s.client.Pipeline()
		for i, m := range some {
			commands[i] = script.EvalSha(ctx, pipe, boxKeys(m), boxPrefix(m))
		}
		_, _ = pipe.Exec(ctx) // each command has its own error
		for i, c := range commands {
			answer, err := c.StringSlice()
			if redis.HasErrorPrefix(err, "NOSCRIPT") { // a Redis that was restarted knows no scripts: Run brings the text
				answer, err = script.Run(ctx, s.client, boxKeys(some[i]), boxPrefix(some[i])).StringSlice()
			}
			if err != nil {
				return nil, err
			}
			answers = append(answers, answer)
		}
	}
	return answers, nil
}
