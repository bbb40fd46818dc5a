package redis

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

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
	return s.ListAfter(ctx, mailbox, "", most)
}

// ListAfter implements outbound.Outbox. What leaves between the two looks of a round is made up for by another round, because a
// page that is not full is the last.
func (s outbox) ListAfter(ctx context.Context, mailbox, after string, most int) ([]outbound.Status, error) {
	at, err := readSpot(after)
	if err != nil {
		return nil, err
	}
	boxes := []string{mailbox}
	if mailbox == "" {
		if boxes, err = s.client.SMembers(ctx, mailboxes).Result(); err != nil {
			return nil, fmt.Errorf("list messages: %w", err)
		}
	}
	var all []outbound.Status
	for len(all) < most {
		wanted := most - len(all)
		spots, err := s.spots(ctx, boxes, at, wanted)
		if err != nil {
			return nil, fmt.Errorf("list messages: %w", err)
		}
		some, err := s.statuses(ctx, spots)
		if err != nil {
			return nil, fmt.Errorf("list messages: %w", err)
		}
		all = append(all, some...)
		if len(spots) < wanted {
			break
		}
		at = spots[wanted-1]
	}
	return all, nil
}

// spot is where a message stands in the order of all mailboxes: when it was first taken, and among those of the same moment
// its id.
type spot struct {
	taken   int64 // microseconds by Redis's clock; 0 = before everything
	id      string
	mailbox string // not part of a place
}

func (a spot) compare(b spot) int {
	return cmp.Or(cmp.Compare(a.taken, b.taken), cmp.Compare(a.id, b.id))
}

// readSpot reads a Status.Place: MOMENT-ID.
func readSpot(place string) (spot, error) {
	if place == "" {
		return spot{}, nil
	}
	moment, id, _ := strings.Cut(place, "-")
	taken, err := strconv.ParseInt(moment, 10, 64)
	if err != nil || taken < 1 || !validID(id) {
		return spot{}, outbound.ErrPlace
	}
	return spot{taken: taken, id: id}, nil
}

// spots are the first so many of the mailboxes behind a spot.
func (s outbox) spots(ctx context.Context, boxes []string, behind spot, most int) ([]spot, error) {
	moment := ""
	if behind.taken != 0 {
		moment = strconv.FormatInt(behind.taken, 10)
	}
	answers, err := s.ofAll(ctx, findJobs, boxes, most, moment, behind.id)
	if err != nil {
		return nil, err
	}
	var all []spot
	for i, answer := range answers {
		for pair := range slices.Chunk(answer, 2) {
			taken, err := strconv.ParseInt(pair[len(pair)-1], 10, 64)
			if err != nil {
				return nil, errAnswer
			}
			all = append(all, spot{taken, pair[0], boxes[i]})
		}
	}
	slices.SortFunc(all, spot.compare)
	return all[:min(most, len(all))], nil
}

// mostListed is how many messages a script tells of at a time: nobody else is served meanwhile.
const mostListed = 100

// statuses are how the messages at those spots stand, in their order, without those that are gone.
func (s outbox) statuses(ctx context.Context, spots []spot) ([]outbound.Status, error) {
	of := map[string][]any{}
	for _, p := range spots {
		of[p.mailbox] = append(of[p.mailbox], p.id)
	}
	var runs []run
	for mailbox, ids := range of {
		for some := range slices.Chunk(ids, mostListed) {
			runs = append(runs, run{boxOf(mailbox), some})
		}
	}
	answers, err := s.runAll(ctx, listJobs, runs)
	if err != nil {
		return nil, err
	}
	found := make(map[string]outbound.Status, len(spots))
	for _, a := range answers {
		if err := readStatuses(a, found); err != nil {
			return nil, err
		}
	}
	var all []outbound.Status
	for _, p := range spots {
		if m, there := found[p.id]; there {
			all = append(all, m)
		}
	}
	return all, nil
}

func readStatuses(answer *redis.Cmd, into map[string]outbound.Status) error {
	list, err := answer.Slice()
	if err != nil {
		return err
	}
	for _, raw := range list {
		m, err := readStatus(raw)
		if err != nil {
			return err
		}
		into[m.ID] = m
	}
	return nil
}

// readStatus reads what the script's status answers.
func readStatus(raw any) (outbound.Status, error) {
	parts, ok := raw.([]any)
	if !ok || len(parts) != 4 {
		return outbound.Status{}, errAnswer
	}
	e, err := readEntry(parts[:3], 7)
	if err != nil {
		return outbound.Status{}, err
	}
	m, err := e.status()
	if taken, _ := parts[3].(string); taken != "" {
		m.Place = taken + "-" + m.ID
	}
	return m, err
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
