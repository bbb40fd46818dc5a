package redis

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"mailporter/workers/internal/outbound"
)

// errAnswer says that a script answered something that it never does.
var errAnswer = errors.New("unexpected answer of a script")

// Claim implements outbound.Outbox. Of the mailboxes that have something due, the one whose mail waits longest goes first.
func (s outbox) Claim(ctx context.Context, boxes []string, limit, most int, ttl time.Duration) ([]outbound.Job, error) {
	all, err := s.waiting(ctx, boxes)
	if err != nil {
		return nil, fmt.Errorf("claim messages: %w", err)
	}
	var jobs []outbound.Job
	var broken error
	for _, w := range all {
		if len(jobs) == most || w.in > 0 {
			break
		}
		some, err := s.claimOf(ctx, w.mailbox, limit, most-len(jobs), ttl)
		jobs = append(jobs, some...)
		if err == nil {
			continue
		}
		broken = cmp.Or(broken, fmt.Errorf("claim messages of %s: %w", w.mailbox, err))
		if !aboutOne(err) {
			break
		}
	}
	if len(jobs) > 0 {
		return jobs, nil // those are ours; the next Claim says what is wrong
	}
	return nil, broken
}

// aboutOne says whether an error is an answer, which says nothing about other mailboxes: a server that does not answer would
// be waited for once for each.
func aboutOne(err error) bool {
	var answer redis.Error
	return errors.As(err, &answer) || errors.Is(err, errAnswer)
}

// waiting is a mailbox with unclaimed jobs.
type waiting struct {
	mailbox string
	since   int64         // when the first is or will be due, microseconds by Redis's clock
	in      time.Duration // how long that is from now; 0 or less: it is
}

// waiting lists the mailboxes that have unclaimed jobs, the one whose mail is or will be due first in front.
func (s outbox) waiting(ctx context.Context, boxes []string) ([]waiting, error) {
	answers, err := s.ofAll(ctx, nextJob, boxes)
	if err != nil {
		return nil, err
	}
	var all []waiting
	for i, answer := range answers {
		if len(answer) == 0 {
			continue
		}
		w, err := readWaiting(boxes[i], answer)
		if err != nil {
			return nil, err
		}
		all = append(all, w)
	}
	slices.SortStableFunc(all, func(a, b waiting) int { return cmp.Compare(a.since, b.since) })
	return all, nil
}

// readWaiting reads {due, now}.
func readWaiting(mailbox string, answer []string) (waiting, error) {
	if len(answer) != 2 {
		return waiting{}, errAnswer
	}
	due, err := strconv.ParseInt(answer[0], 10, 64)
	now, nowErr := strconv.ParseInt(answer[1], 10, 64)
	if err != nil || nowErr != nil {
		return waiting{}, errAnswer
	}
	return waiting{mailbox, due, time.Duration(due-now) * time.Microsecond}, nil
}

func (s outbox) claimOf(ctx context.Context, mailbox string, limit, most int, ttl time.Duration) ([]outbound.Job, error) {
	name := rand.Text()
	var answer []any
	err := ifReplicated(ctx, true, func(ctx context.Context) (err error) {
		answer, err = claimJobs.Run(ctx, s.client, boxKeys(mailbox), boxPrefix(mailbox), limit, most, ttl.Microseconds(), name).Slice()
		return err
	})
	if err != nil {
		return nil, err
	}
	return readJobs(answer, name)
}

// readJobs reads what was claimed under a name.
func readJobs(answer []any, name string) ([]outbound.Job, error) {
	jobs := make([]outbound.Job, len(answer))
	for i := range answer {
		e, err := readEntry(answer[i], 7)
		if err != nil {
			return nil, err
		}
		jobs[i] = outbound.Job{ID: e.id, Claim: name, Mailbox: e.fields[0], Size: e.number(2), Accepted: moment(e.number(3)),
			Attempts: int(e.number(4)), InDoubt: e.fields[5] == "1", Draft: e.fields[6]}
		if err := json.Unmarshal([]byte(e.fields[1]), &jobs[i].Envelope); err != nil {
			return nil, errAnswer
		}
		jobs[i].Envelope.Recipients = openOnes(jobs[i].Envelope, e.recipients)
	}
	return jobs, nil
}

// entry is {id, fields, recipients} as scripts answer it.
type entry struct {
	id         string
	fields     []string
	recipients []recipient
}

func (e entry) number(i int) int64 {
	n, _ := strconv.ParseInt(e.fields[i], 10, 64)
	return n
}

func readEntry(raw any, fields int) (entry, error) {
	parts, ok := raw.([]any)
	if !ok || len(parts) != 3 {
		return entry{}, errAnswer
	}
	id, ok := parts[0].(string)
	list, listOK := parts[1].([]any)
	states, statesOK := parts[2].(string)
	if !ok || !listOK || !statesOK || len(list) != fields {
		return entry{}, errAnswer
	}
	e := entry{id: id, fields: make([]string, fields)}
	for i, f := range list {
		e.fields[i], _ = f.(string)
	}
	if err := json.Unmarshal([]byte(states), &e.recipients); err != nil {
		return entry{}, errAnswer
	}
	return e, nil
}

// Extend implements outbound.Outbox.
func (s outbox) Extend(ctx context.Context, j outbound.Job, ttl time.Duration) error {
	kept, err := extendJob.Run(ctx, s.client, boxKeys(j.Mailbox), boxPrefix(j.Mailbox), j.ID, j.Claim, ttl.Microseconds()).Int()
	return lostIf(kept == 0, err)
}

// Drafted implements outbound.Outbox.
func (s outbox) Drafted(ctx context.Context, j outbound.Job, draft string) error {
	return ifReplicated(ctx, true, func(ctx context.Context) error {
		kept, err := draftJob.Run(ctx, s.client, boxKeys(j.Mailbox), boxPrefix(j.Mailbox), j.ID, j.Claim, draft).Int()
		return lostIf(kept == 0, err)
	})
}

func lostIf(lost bool, err error) error {
	if err == nil && lost {
		return outbound.ErrLost
	}
	return err
}

// Settle implements outbound.Outbox.
func (s outbox) Settle(ctx context.Context, j outbound.Job, v outbound.Verdict) error {
	_, err := s.settle(ctx, settleJob, j, v)
	return err
}

// SettleAndClaim implements outbound.Outbox.
func (s outbox) SettleAndClaim(ctx context.Context, j outbound.Job, v outbound.Verdict, limit int, ttl time.Duration) ([]outbound.Job, error) {
	name := rand.Text()
	answer, err := s.settle(ctx, settleNext, j, v, limit, ttl.Microseconds(), name)
	if err != nil {
		return nil, err
	}
	claimed, ok := answer.([]any)
	if !ok {
		return nil, fmt.Errorf("settle message %s: %w", j.ID, errAnswer)
	}
	return readJobs(claimed, name)
}

// settle runs a script that settles a job; more are its arguments after those of settle. 0 says that the claim was lost.
func (s outbox) settle(ctx context.Context, script *redis.Script, j outbound.Job, v outbound.Verdict, more ...any) (answer any, err error) {
	outcomes, err := json.Marshal(outcomesOf(v))
	if err != nil {
		return nil, fmt.Errorf("settle message %s: %w", j.ID, err)
	}
	next := ""
	switch {
	case len(v.Later) == 0 || v.Held:
	case v.Stays:
		next = "as before"
	default:
		next = strconv.FormatInt(max(0, time.Until(v.At).Microseconds()), 10)
	}
	made := 1
	if v.Free {
		made = 0
	}
	args := append([]any{boxPrefix(j.Mailbox), j.ID, j.Claim, outcomes, next, v.Doubt, made, int(requestMemory.Seconds())}, more...)
	err = ifReplicated(ctx, true, func(ctx context.Context) error {
		answer, err = script.Run(ctx, s.client, boxKeys(j.Mailbox), args...).Result()
		return lostIf(answer == int64(0), err)
	})
	if err != nil {
		return nil, fmt.Errorf("settle message %s: %w", j.ID, err)
	}
	s.signal()
	return answer, nil
}

func outcomesOf(v outbound.Verdict) map[string]recipient {
	all := map[string]recipient{}
	for _, a := range v.Sent {
		all[a] = recipient{State: outbound.Sent}
	}
	for _, f := range v.Dead {
		all[f.Address] = recipient{State: outbound.Dead, Reason: f.Reason}
	}
	later := outbound.Deferred
	if v.Doubt {
		later = outbound.Unknown
	}
	for _, f := range v.Later {
		all[f.Address] = recipient{State: later, Reason: f.Reason}
	}
	return all
}
