package redis

import (
	"context"
	_ "embed"

	"github.com/redis/go-redis/v9"
)

// The outbox's scripts share what they know about a job; see outbox.lua. KEYS are always due, claimed, all; the keys of
// jobs are made from ARGV[1], which is the mailbox's prefix with its hash tag.
var (
	//go:embed outbox.lua
	outboxLua string

	addJob    = redis.NewScript(outboxLua + "return add()")
	claimJobs = redis.NewScript(outboxLua + "return claim()")
	extendJob = redis.NewScript(outboxLua + "return extend()")
	draftJob  = redis.NewScript(outboxLua + "return drafted()")
	settleJob = redis.NewScript(outboxLua + "return settle()")
	nextJob   = redis.NewScript(outboxLua + "return next_due()")
	getJob    = redis.NewScript(outboxLua + "return get()")
	retryJob  = redis.NewScript(outboxLua + "return retry()")
	dropJob   = redis.NewScript(outboxLua + "return drop()")
	listJobs  = redis.NewScript(outboxLua + "return list()")
)

// nextOfAll runs nextJob for many mailboxes in one round trip and returns the answers in their order.
func (s *Store) nextOfAll(ctx context.Context, mailboxes []string) ([][]string, error) {
	commands := make([]*redis.Cmd, len(mailboxes))
	pipe := s.client.Pipeline()
	for i, m := range mailboxes {
		commands[i] = nextJob.EvalSha(ctx, pipe, boxKeys(m), boxPrefix(m))
	}
	_, _ = pipe.Exec(ctx) // each command has its own error
	answers := make([][]string, len(mailboxes))
	for i, c := range commands {
		answer, err := c.StringSlice()
		if redis.HasErrorPrefix(err, "NOSCRIPT") { // a Redis that was restarted knows no scripts: Run brings the text
			answer, err = nextJob.Run(ctx, s.client, boxKeys(mailboxes[i]), boxPrefix(mailboxes[i])).StringSlice()
		}
		if err != nil {
			return nil, err
		}
		answers[i] = answer
	}
	return answers, nil
}
