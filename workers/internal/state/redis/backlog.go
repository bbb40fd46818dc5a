package redis

import (
	"context"
	"fmt"
	"strconv"

	"mailporter/workers/internal/outbound"
)

// Backlogs implements outbound.Outbox. The messages are counted; a few of each mailbox stand for the cost of all.
func (s outbox) Backlogs(ctx context.Context) ([]outbound.Backlog, error) {
	boxes, err := s.client.SMembers(ctx, mailboxes).Result()
	if err != nil {
		return nil, fmt.Errorf("count messages: %w", err)
	}
	answers, err := s.ofAll(ctx, countJobs, boxes)
	if err != nil {
		return nil, fmt.Errorf("count messages: %w", err)
	}
	var all []outbound.Backlog
	for i, answer := range answers {
		if len(answer) == 0 {
			continue
		}
		b, err := readBacklog(boxes[i], answer)
		if err != nil {
			return nil, fmt.Errorf("count messages: %w", err)
		}
		all = append(all, b)
	}
	return all, nil
}

// readBacklog reads {messages, when the oldest was accepted, messages looked into, their recipients, their bytes}.
func readBacklog(mailbox string, answer []string) (outbound.Backlog, error) {
	var n [5]int64
	if len(answer) != len(n) {
		return outbound.Backlog{}, errAnswer
	}
	for i, text := range answer {
		var err error
		if n[i], err = strconv.ParseInt(text, 10, 64); err != nil {
			return outbound.Backlog{}, errAnswer
		}
	}
	messages, looked, recipients, bytes := n[0], max(1, n[2]), n[3], n[4]
	share := func(of int64) int64 { return int64(float64(of) * float64(messages) / float64(looked)) }
	return outbound.Backlog{
		Mailbox: mailbox, Messages: messages, Oldest: moment(n[1]), Cost: outbound.Cost{Recipients: share(recipients), Bytes: share(bytes)},
	}, nil
}
