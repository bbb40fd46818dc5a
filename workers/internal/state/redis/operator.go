package redis

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"mailporter/workers/internal/outbound"
)

// Get implements outbound.Outbox.
func (s outbox) Get(ctx context.Context, id string) (outbound.Status, error) {
	return s.look(ctx, getJob, id)
}

// Sent implements outbound.Outbox.
func (s outbox) Sent(ctx context.Context, id string) (outbound.Status, error) {
	return s.look(ctx, sentJob, id)
}

// Requested implements outbound.Outbox.
func (s outbox) Requested(ctx context.Context, mailbox, request string) (string, error) {
	if request == "" {
		return "", nil
	}
	id, err := s.client.Get(ctx, boxPrefix(mailbox)+"request:"+request).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return "", fmt.Errorf("look for a request: %w", err)
	}
	return id, nil
}

// look asks a script for one message.
func (s outbox) look(ctx context.Context, script *redis.Script, id string) (outbound.Status, error) {
	answers, err := s.ask(ctx, script, id)
	for _, a := range answers {
		if found, _ := a.Slice(); len(found) > 0 {
			return readStatus(found)
		}
	}
	if err == nil {
		err = outbound.ErrNone
	}
	return outbound.Status{}, fmt.Errorf("read message %s: %w", id, err)
}

// Retry implements outbound.Outbox.
func (s outbox) Retry(ctx context.Context, id string) error {
	if err := s.operate(ctx, retryJob, id); err != nil {
		return fmt.Errorf("try message %s again: %w", id, err)
	}
	s.signal()
	return nil
}

// Drop implements outbound.Outbox.
func (s outbox) Drop(ctx context.Context, id string) error {
	if err := s.operate(ctx, dropJob, id); err != nil {
		return fmt.Errorf("drop message %s: %w", id, err)
	}
	return nil
}

// operate runs a script on the outbox that has the message.
func (s outbox) operate(ctx context.Context, script *redis.Script, id string) error {
	answers, err := s.ask(ctx, script, id)
	for _, a := range answers {
		switch text, _ := a.Text(); text {
		case "ok":
			return nil
		case "claimed":
			return outbound.ErrClaimed
		}
	}
	if err == nil {
		err = outbound.ErrNone
	}
	return err
}

// ask runs a script about a message on the outbox that its id names, or on all of them if it names none: at most one has it.
func (s outbox) ask(ctx context.Context, script *redis.Script, id string) ([]*redis.Cmd, error) {
	if !validID(id) {
		return nil, nil
	}
	if b, named := boxIn(id); named {
		return s.runAll(ctx, script, []run{{b, []any{id}}})
	}
	boxes, err := s.client.SMembers(ctx, mailboxes).Result()
	if err != nil {
		return nil, err
	}
	runs := make([]run, len(boxes))
	for i, m := range boxes {
		runs[i] = run{boxOf(m), []any{id}}
	}
	return s.runAll(ctx, script, runs)
}
