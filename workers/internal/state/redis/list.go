package redis

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
)

// Next implements outbound.Outbox. A claim that lapsed is due since then.
func (s outbox) Next(ctx context.Context, boxes []string) (time.Time, error) {
	all, err := s.waiting(ctx, boxes)
	if err != nil {
		return time.Time{}, fmt.Errorf("read next attempt: %w", err)
	}
	if len(all) == 0 {
		return time.Time{}, nil
	}
	return time.Now().Add(all[0].in), nil // by the clock of the caller, whatever Redis's says
}

// List implements outbound.Outbox.
func (s outbox) List(ctx context.Context, mailbox string, most int) ([]outbound.Status, error) {
	boxes := []string{mailbox}
	if mailbox == "" {
		var err error
		if boxes, err = s.client.SMembers(ctx, mailboxes).Result(); err != nil {
			return nil, fmt.Errorf("list messages: %w", err)
		}
	}
	var all []outbound.Status
	for _, m := range boxes {
		some, err := s.listOf(ctx, m, most)
		if err != nil {
			return nil, fmt.Errorf("list messages of %s: %w", m, err)
		}
		all = append(all, some...)
	}
	slices.SortStableFunc(all, func(a, b outbound.Status) int { return a.Accepted.Compare(b.Accepted) })
	return all[:min(most, len(all))], nil
}

func (s outbox) listOf(ctx context.Context, mailbox string, most int) ([]outbound.Status, error) {
	answer, err := listJobs.Run(ctx, s.client, boxKeys(mailbox), boxPrefix(mailbox), most).Slice()
	if err != nil {
		return nil, err
	}
	all := make([]outbound.Status, len(answer))
	for i := range answer {
		e, err := readEntry(answer[i], 7)
		if err != nil {
			return nil, err
		}
		if all[i], err = e.status(); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func (e entry) status() (outbound.Status, error) {
	var envelope mail.Envelope
	if err := json.Unmarshal([]byte(e.fields[1]), &envelope); err != nil {
		return outbound.Status{}, errAnswer
	}
	m := outbound.Status{ID: e.id, Mailbox: e.fields[0], From: envelope.From, Size: e.number(2), Accepted: moment(e.number(3)), Attempts: int(e.number(4))}
	if e.fields[6] == "" { // no claim
		m.Next = moment(e.number(5))
	}
	for _, r := range e.recipients {
		changed, _ := strconv.ParseInt(r.Changed, 10, 64)
		m.Recipients = append(m.Recipients, outbound.RecipientStatus{Address: r.Address, State: r.State, Reason: r.Reason, Changed: moment(changed)})
	}
	return m, nil
}
