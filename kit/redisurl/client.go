package redisurl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
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
// has any; if it has none they take one round trip, as ever. The function tells, after the last of them, whether one confirmed them all: nil, or an ErrNotReplicated. Replication
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

// ProcessHook implements redis.Hook.
func (n node) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		c := confirmed(ctx)
		if c == nil {
			return n.judge(ctx, next(ctx, cmd))
		}
		return n.judge(ctx, n.confirm(ctx, c, []redis.Cmder{cmd}))
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
		return n.confirm(ctx, c, cmds)
	}
}

// confirm runs commands and then waits for a replica if there is any, on one connection: WAIT speaks of its connection's writes. How
// many replicas there are is asked together with the commands, or every write would cost two round trips where there are none.
func (n node) confirm(ctx context.Context, c *confirmation, cmds []redis.Cmder) error {
	ctx = context.WithValue(ctx, confirmationKey{}, nil)
	conn := n.client.Conn()
	defer conn.Close() // gives it back
	pipe := conn.Pipeline()
	for _, cmd := range cmds {
		_ = pipe.Process(ctx, cmd) // queues it
	}
	info := pipe.Info(ctx, "replication")
	_, _ = pipe.Exec(ctx) // each command has its own error
	if err := firstError(cmds); err != nil || c.err != nil {
		return err
	}
	c.err = await(ctx, conn, info)
	return nil
}

// await waits for a replica if info knows any: waiting for one that does not exist would fail every write. Who may not see them
// goes on as if there were none; Inspect has said so.
func await(ctx context.Context, conn *redis.Conn, info *redis.StringCmd) error {
	switch {
	case forbidden(info.Err()):
		return nil
	case info.Err() != nil:
		return fmt.Errorf("%w: %w", ErrNotReplicated, info.Err())
	case !strings.Contains(info.Val(), "state="):
		return nil
	}
	confirmed, err := conn.Wait(ctx, 1, replicaTime).Result()
	switch {
	case err != nil: // NOPERM, say
		return fmt.Errorf("%w: %w", ErrNotReplicated, err)
	case confirmed < 1:
		return ErrNotReplicated
	}
	return nil
}

func firstError(cmds []redis.Cmder) error {
	for _, cmd := range cmds {
		if err := cmd.Err(); err != nil {
			return err
		}
	}
	return nil
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
