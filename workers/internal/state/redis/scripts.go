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
	findJobs   = redis.NewScript(outboxLua + "return places()")
	listJobs   = redis.NewScript(outboxLua + "return list()")
	countJobs  = redis.NewScript(outboxLua + "return backlog()")
)

// mostPiped is how many runs of a script go in one round trip: Redis keeps all of their answers in memory.
const mostPiped = 1000

// run is one of a script, on a mailbox's outbox.
type run struct {
	box  box
	args []any // behind the prefix
}

func (r run) of(ctx context.Context, c redis.Scripter, script *redis.Script, do func(*redis.Script, context.Context, redis.Scripter, []string, ...any) *redis.Cmd) *redis.Cmd {
	return do(script, ctx, c, r.box.keys(), append([]any{r.box.prefix()}, r.args...)...)
}

// runAll runs a script many times, many to a round trip, and returns the answers in the order of the runs.
func (s *Store) runAll(ctx context.Context, script *redis.Script, runs []run) ([]*redis.Cmd, error) {
	answers := make([]*redis.Cmd, 0, len(runs))
	for some := range slices.Chunk(runs, mostPiped) {
		commands := make([]*redis.Cmd, len(some))
		pipe := s.client.Pipeline()
		for i, r := range some {
			commands[i] = r.of(ctx, pipe, script, (*redis.Script).EvalSha)
		}
		_, _ = pipe.Exec(ctx) // each command has its own error
		for i, c := range commands {
			if redis.HasErrorPrefix(c.Err(), "NOSCRIPT") { // a Redis that was restarted knows no scripts: Run brings the text
				c = some[i].of(ctx, s.client, script, (*redis.Script).Run)
			}
			if c.Err() != nil {
				return nil, c.Err()
			}
			answers = append(answers, c)
		}
	}
	return answers, nil
}

// ofAll runs a script for many mailboxes, with the same arguments for each, and returns the answers in their order.
func (s *Store) ofAll(ctx context.Context, script *redis.Script, mailboxes []string, args ...any) ([][]string, error) {
	runs := make([]run, len(mailboxes))
	for i, m := range mailboxes {
		runs[i] = run{boxOf(m), args}
	}
	commands, err := s.runAll(ctx, script, runs)
	if err != nil {
		return nil, err
	}
	answers := make([][]string, len(commands))
	for i, c := range commands {
		if answers[i], err = c.StringSlice(); err != nil {
			return nil, err
		}
	}
	return answers, nil
}
