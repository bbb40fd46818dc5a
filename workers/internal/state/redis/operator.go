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
	found := outbound.Status{}
	err := s.eachBox(ctx, func(mailbox string) (bool, error) {
		answer, err := script.Run(ctx, s.client, boxKeys(mailbox), boxPrefix(mailbox), id).Slice()
		if err != nil || len(answer) == 0 {
			return false, err
		}
		e, err := readEntry(answer, 7)
		if err == nil {
			found, err = e.status()
		}
		return true, err
	})
	if err != nil {
		return outbound.Status{}, fmt.Errorf("read message %s: %w", id, err)
	}
	return found, nil
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

// operate runs a script on the mailbox that has the message.
func (s outbox) operate(ctx context.Context, script *redis.Script, id string) error {
	return s.eachBox(ctx, func(mailbox string) (bool, error) {
		answer, err := script.Run(ctx, s.client, boxKeys(mailbox), boxPrefix(mailbox), id).Text()
		if err == nil && answer == "claimed" {
			err = outbound.ErrClaimed
		}
		return answer == "ok", err
	})
}

// eachBox asks one mailbox after the other until one has the message; an id does not say whose it is. ErrNone: none has.
func (s outbox) eachBox(ctx context.Context, ask func(mailbox string) (found bool, err error)) error {
	boxes, err := s.client.SMembers(ctx, mailboxes).Result()
	if err != nil {
		return err
	}
	for _, m := range boxes {
		if found, err := ask(m); found || err != nil {
			return err
		}
	}
	return outbound.ErrNone
}
