package redisurl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrNotReplicated says that a write was done, but that no replica confirmed it: a failover now would lose it.
var ErrNotReplicated = errors.New("redis has it, but none of its replicas confirmed that in time")

// errAnswerLost hides what broke the connection from the library, which would send the command again.
type errAnswerLost struct{ cause string }

func (e errAnswerLost) Error() string { return "the answer of redis was lost: " + e.cause }

// replicaTime is how long a replica may take to confirm a write. It is less than the time-out of reading.
const replicaTime = time.Second

// redirects is how often a command follows a slot that moves, waiting up to half a second each time. While a slot is
// moving, redis answers TRYAGAIN to scripts whose keys lie on both sides.
const redirects = 12

// Open makes a client. It connects when it is first used. A command whose answer was lost is not sent again, in a cluster
// neither; one that redis did not do (MOVED, ASK, TRYAGAIN) is.
func Open(o *redis.UniversalOptions) redis.UniversalClient {
	o.MaxRedirects = redirects
	client := redis.NewUniversalClient(o)
	switch c := client.(type) {
	case *redis.ClusterClient:
		c.OnNewNode(func(n *redis.Client) { n.AddHook(node{n, c.ReloadState}) })
	case *redis.Client:
		c.AddHook(node{c, func(context.Context) {}})
	}
	return client
}

// confirmation is what became of the writes of a context.
type confirmation struct{ err error } // of the first that no replica confirmed

type confirmationKey struct{}

// Replicated returns a context whose commands are followed by WAIT for one replica, on the same connection, if the server
// has any. The function tells, after the last of them, whether one confirmed them all: nil, or an ErrNotReplicated. Replication
// is asynchronous: without this a failover loses what was acknowledged last. For one goroutine.
func Replicated(ctx context.Context) (context.Context, func() error) {
	c := &confirmation{}
	return context.WithValue(ctx, confirmationKey{}, c), func() error { return c.err }
}

func confirmed(ctx context.Context) *confirmation {
	c, _ := ctx.Value(confirmationKey{}).(*confirmation)
	return c
}

// node stands between the library and one server; in a cluster there is one for each.
type node struct {
	client *redis.Client
	// reload asks in the background who serves what. The library does so once a minute: a dead primary would be asked until then.
	reload func(context.Context)
}

// DialHook implements redis.Hook.
func (n node) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook implements redis.Hook. WAIT speaks of its own connection's writes, so it goes into one pipeline with them.
func (n node) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if confirmed(ctx) == nil {
			return n.judge(ctx, next(ctx, cmd))
		}
		pipe := n.client.Pipeline()
		if err := pipe.Process(ctx, cmd); err != nil {
			return err
		}
		_, _ = pipe.Exec(ctx) // the command has its own error, and that of WAIT is not its
		return n.judge(ctx, cmd.Err())
	}
}

// ProcessPipelineHook implements redis.Hook. A cluster's redirection (ASKING and the command) comes this way as well.
func (n node) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		c := confirmed(ctx)
		if c == nil {
			err := next(ctx, cmds)
			n.judge(ctx, err)
			return err
		}
		replicas, err := n.replicas(ctx)
		if err != nil {
			for _, cmd := range cmds {
				cmd.SetErr(err)
			}
			return err
		}
		if replicas == 0 {
			return next(ctx, cmds)
		}
		wait := redis.NewIntCmd(ctx, "wait", 1, replicaTime.Milliseconds())
		_ = next(ctx, append(slices.Clip(cmds), wait)) // each command has its own error
		switch {
		case c.err != nil:
		case wait.Err() != nil: // NOPERM, say
			c.err = fmt.Errorf("%w: %w", ErrNotReplicated, wait.Err())
		case wait.Val() < 1:
			c.err = ErrNotReplicated
		}
		return firstError(cmds)
	}
}

func firstError(cmds []redis.Cmder) error {
	for _, cmd := range cmds {
		if err := cmd.Err(); err != nil {
			return err
		}
	}
	return nil
}

// replicas is how many there are now: waiting for one that does not exist would fail every write. Who may not see them goes on
// as if there were none; Inspect has said so.
func (n node) replicas(ctx context.Context) (int, error) {
	info, err := n.client.Info(context.WithValue(ctx, confirmationKey{}, nil), "replication").Result()
	if forbidden(err) {
		return 0, nil
	}
	return strings.Count(info, "state="), err
}

// judge makes an error final that the library would try to mend by sending the command again, unless it was never sent.
func (n node) judge(ctx context.Context, err error) error {
	var answered redis.Error
	var network net.Error
	var op *net.OpError
	switch {
	case err == nil, errors.As(err, &answered), errors.Is(err, context.Canceled), errors.Is(err, redis.ErrClosed), errors.Is(err, redis.ErrPoolTimeout):
		return err
	case errors.As(err, &op) && op.Op == "dial", errors.Is(err, context.DeadlineExceeded):
		n.reload(ctx)
		return err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &network):
		n.reload(ctx)
		return errAnswerLost{err.Error()}
	}
	return err
}
