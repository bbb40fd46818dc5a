package outboundtest

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"time"

	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
)

// Memory is an Outbox that forgets everything with the process. The zero value is empty; it is safe for use by many
// goroutines and works inside synctest bubbles.
type Memory struct {
	// Before is called before each step with its name (add, claim, extend, drafted, open, settle, next); an error is the step's
	// result and the step does not happen. Nil: everything works.
	Before func(step string) error

	mu      sync.Mutex
	entries []*entry
	gone    []*entry // sent
	added   int
	claims  int
	changed chan struct{}
}

type entry struct {
	id         string
	submission outbound.Submission
	body       []byte
	accepted   time.Time
	next       time.Time // zero = never
	attempts   int
	doubt      bool
	draft      string
	claim      string
	until      time.Time // the claim's end
	recipients []outbound.RecipientStatus
}

func (m *Memory) step(name string) error {
	if m.Before == nil {
		return nil
	}
	return m.Before(name)
}

// Add implements outbound.Outbox.
func (m *Memory) Add(_ context.Context, s outbound.Submission) (string, error) {
	if err := m.step("add"); err != nil {
		return "", err
	}
	body, err := io.ReadAll(s.Body)
	if err != nil {
		return "", fmt.Errorf("read message: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if id := m.requested(s.Mailbox, s.Request); id != "" {
		return id, nil
	}
	m.added++
	e := &entry{id: strconv.Itoa(m.added), submission: s, body: body, accepted: time.Now(), next: time.Now()}
	for _, r := range s.Envelope.Recipients {
		e.recipients = append(e.recipients, outbound.RecipientStatus{Address: r.Address, Changed: e.accepted})
	}
	m.entries = append(m.entries, e)
	m.signal()
	return e.id, nil
}

// requested is the id of the message of that request; m.mu is held.
func (m *Memory) requested(mailbox, request string) string {
	for _, e := range slices.Concat(m.entries, m.gone) {
		if request != "" && e.submission.Request == request && e.submission.Mailbox == mailbox {
			return e.id
		}
	}
	return ""
}

// Requested implements outbound.Outbox.
func (m *Memory) Requested(_ context.Context, mailbox, request string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.requested(mailbox, request), nil
}

// Sent implements outbound.Outbox.
func (m *Memory) Sent(_ context.Context, id string) (outbound.Status, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.gone {
		if e.id == id && e.submission.Request != "" {
			return e.status(), nil
		}
	}
	return outbound.Status{}, outbound.ErrNone
}

// signal tells one listener; m.mu is held.
func (m *Memory) signal() {
	if m.changed == nil {
		m.changed = make(chan struct{}, 1)
	}
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// Claim implements outbound.Outbox.
func (m *Memory) Claim(_ context.Context, mailboxes []string, limit, most int, ttl time.Duration) ([]outbound.Job, error) {
	if err := m.step("claim"); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.claimDue(mailboxes, limit, most, ttl), nil
}

// claimDue is Claim; m.mu is held.
func (m *Memory) claimDue(mailboxes []string, limit, most int, ttl time.Duration) []outbound.Job {
	now := time.Now()
	busy := m.lapse(now)
	var jobs []outbound.Job
	for _, e := range m.byDue() {
		box := e.submission.Mailbox
		if len(jobs) == most || busy[box] >= limit || e.next.After(now) || !slices.Contains(mailboxes, box) {
			continue
		}
		busy[box]++
		jobs = append(jobs, m.claim(e, now.Add(ttl)))
	}
	return jobs
}

// lapse ends the claims that are over and counts the others by mailbox; m.mu is held.
func (m *Memory) lapse(now time.Time) map[string]int {
	busy := map[string]int{}
	for _, e := range m.entries {
		switch {
		case e.claim == "":
		case now.Before(e.until):
			busy[e.submission.Mailbox]++
		default:
			e.claim, e.doubt, e.next = "", true, e.until
			e.attempts++
			e.set(outbound.Unknown, "the worker that was sending it is gone", outbound.Sending)
		}
	}
	return busy
}

// byDue lists what waits for an attempt, the longest waiting first; m.mu is held.
func (m *Memory) byDue() []*entry {
	open := slices.DeleteFunc(slices.Clone(m.entries), func(e *entry) bool { return e.claim != "" || e.next.IsZero() })
	slices.SortStableFunc(open, func(a, b *entry) int { return a.next.Compare(b.next) })
	return open
}

func (m *Memory) claim(e *entry, until time.Time) outbound.Job {
	m.claims++
	e.claim, e.until = "claim-"+strconv.Itoa(m.claims), until
	env := e.submission.Envelope
	env.Recipients = slices.DeleteFunc(slices.Clone(env.Recipients), func(r mail.Recipient) bool { return !e.open(r.Address) })
	e.set(outbound.Sending, "", outbound.Queued, outbound.Deferred, outbound.Unknown)
	return outbound.Job{
		ID: e.id, Claim: e.claim, Mailbox: e.submission.Mailbox, Envelope: env, Size: int64(len(e.body)),
		Attempts: e.attempts, InDoubt: e.doubt, Draft: e.draft, Accepted: e.accepted,
	}
}

func (e *entry) open(address string) bool {
	return slices.ContainsFunc(e.recipients, func(r outbound.RecipientStatus) bool {
		return r.Address == address && r.State != outbound.Sent && r.State != outbound.Dead
	})
}

// set moves every recipient that is in one of the states from into state to.
func (e *entry) set(to outbound.State, reason string, from ...outbound.State) {
	for i := range e.recipients {
		if slices.Contains(from, e.recipients[i].State) {
			e.mark(e.recipients[i].Address, to, reason)
		}
	}
}

func (e *entry) mark(address string, to outbound.State, reason string) {
	for i := range e.recipients {
		if r := &e.recipients[i]; r.Address == address {
			r.State, r.Reason, r.Changed = to, reason, time.Now()
		}
	}
}

// held finds the entry that j holds; m.mu is held.
func (m *Memory) held(j outbound.Job) (*entry, error) {
	for _, e := range m.entries {
		if e.id == j.ID && e.claim == j.Claim && j.Claim != "" && time.Now().Before(e.until) {
			return e, nil
		}
	}
	return nil, outbound.ErrLost
}

// Extend implements outbound.Outbox.
func (m *Memory) Extend(_ context.Context, j outbound.Job, ttl time.Duration) error {
	if err := m.step("extend"); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e, err := m.held(j)
	if err == nil {
		e.until = time.Now().Add(ttl)
	}
	return err
}

// Drafted implements outbound.Outbox.
func (m *Memory) Drafted(_ context.Context, j outbound.Job, draft string) error {
	if err := m.step("drafted"); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e, err := m.held(j)
	if err == nil {
		e.draft = draft
	}
	return err
}

// Open implements outbound.Outbox.
func (m *Memory) Open(_ context.Context, j outbound.Job) (io.ReadCloser, error) {
	if err := m.step("open"); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.entries {
		if e.id == j.ID {
			return io.NopCloser(bytes.NewReader(e.body)), nil
		}
	}
	return nil, fmt.Errorf("open message %s: there is none", j.ID)
}

// Settle implements outbound.Outbox.
func (m *Memory) Settle(_ context.Context, j outbound.Job, v outbound.Verdict) error {
	if err := m.step("settle"); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.settle(j, v)
}

// SettleAndClaim implements outbound.Outbox.
func (m *Memory) SettleAndClaim(_ context.Context, j outbound.Job, v outbound.Verdict, limit int, ttl time.Duration) ([]outbound.Job, error) {
	if err := m.step("settle"); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.settle(j, v); err != nil {
		return nil, err
	}
	return m.claimDue([]string{j.Mailbox}, limit, 1, ttl), nil
}

// settle is Settle; m.mu is held.
func (m *Memory) settle(j outbound.Job, v outbound.Verdict) error {
	e, err := m.held(j)
	if err != nil {
		return err
	}
	e.settle(v)
	if e.done() {
		m.gone = append(m.gone, e)
	}
	m.entries = slices.DeleteFunc(m.entries, (*entry).done)
	m.signal()
	return nil
}

func (e *entry) settle(v outbound.Verdict) {
	for _, a := range v.Sent {
		e.mark(a, outbound.Sent, "")
	}
	for _, f := range v.Dead {
		e.mark(f.Address, outbound.Dead, f.Reason)
	}
	later := outbound.Deferred
	if v.Doubt {
		later = outbound.Unknown
	}
	for _, f := range v.Later {
		e.mark(f.Address, later, f.Reason)
	}
	e.claim, e.doubt = "", v.Doubt
	switch {
	case len(v.Later) == 0 || v.Held:
		e.next = time.Time{}
	case !v.Stays:
		e.next = v.At
	}
	if !v.Free {
		e.attempts++
	}
}

// done says whether everybody has it.
func (e *entry) done() bool {
	return !slices.ContainsFunc(e.recipients, func(r outbound.RecipientStatus) bool { return r.State != outbound.Sent })
}

// Next implements outbound.Outbox.
func (m *Memory) Next(_ context.Context, mailboxes []string) (time.Time, error) {
	if err := m.step("next"); err != nil {
		return time.Time{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lapse(time.Now())
	for _, e := range m.byDue() {
		if slices.Contains(mailboxes, e.submission.Mailbox) {
			return e.next, nil
		}
	}
	return time.Time{}, nil
}

// List implements outbound.Outbox.
func (m *Memory) List(ctx context.Context, mailbox string, most int) ([]outbound.Status, error) {
	return m.ListAfter(ctx, mailbox, "", most)
}

// ListAfter implements outbound.Outbox. A message's place is its id, a number that grows.
func (m *Memory) ListAfter(_ context.Context, mailbox, place string, most int) ([]outbound.Status, error) {
	after, err := strconv.ParseUint(cmp.Or(place, "0"), 10, 32)
	if err != nil {
		return nil, outbound.ErrPlace
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lapse(time.Now())
	var all []outbound.Status
	for _, e := range m.entries {
		id, _ := strconv.ParseUint(e.id, 10, 32)
		if id > after && (mailbox == "" || mailbox == e.submission.Mailbox) {
			all = append(all, e.status())
		}
	}
	return all[:min(most, len(all))], nil
}

func (e *entry) status() outbound.Status {
	return outbound.Status{
		ID: e.id, Mailbox: e.submission.Mailbox, From: e.submission.Envelope.From, Size: int64(len(e.body)),
		Accepted: e.accepted, Attempts: e.attempts, Next: e.next, Place: e.id, Recipients: slices.Clone(e.recipients),
	}
}

// Backlogs implements outbound.Outbox.
func (m *Memory) Backlogs(context.Context) ([]outbound.Backlog, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []outbound.Backlog
	for _, e := range m.entries {
		if e.next.IsZero() {
			continue
		}
		i := slices.IndexFunc(all, func(b outbound.Backlog) bool { return b.Mailbox == e.submission.Mailbox })
		if i < 0 {
			i, all = len(all), append(all, outbound.Backlog{Mailbox: e.submission.Mailbox, Oldest: e.accepted})
		}
		b := &all[i]
		b.Messages++
		b.Cost.Recipients += int64(len(slices.DeleteFunc(slices.Clone(e.recipients), func(r outbound.RecipientStatus) bool { return !e.open(r.Address) })))
		b.Cost.Bytes += int64(len(e.body))
		if e.accepted.Before(b.Oldest) {
			b.Oldest = e.accepted
		}
	}
	return all, nil
}

// Get implements outbound.Outbox.
func (m *Memory) Get(_ context.Context, id string) (outbound.Status, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, err := m.find(id)
	if err != nil {
		return outbound.Status{}, err
	}
	return e.status(), nil
}

// find is the entry of that id; m.mu is held.
func (m *Memory) find(id string) (*entry, error) {
	m.lapse(time.Now())
	for _, e := range m.entries {
		if e.id == id {
			return e, nil
		}
	}
	return nil, outbound.ErrNone
}

// idle is the entry of that id that nobody is sending; m.mu is held.
func (m *Memory) idle(id string) (*entry, error) {
	e, err := m.find(id)
	if err == nil && e.claim != "" {
		return nil, outbound.ErrClaimed
	}
	return e, err
}

// Retry implements outbound.Outbox.
func (m *Memory) Retry(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, err := m.idle(id)
	if err != nil {
		return err
	}
	e.set(outbound.Queued, "", outbound.Deferred, outbound.Unknown, outbound.Dead)
	e.accepted, e.next, e.attempts, e.doubt = time.Now(), time.Now(), 0, false
	m.signal()
	return nil
}

// Drop implements outbound.Outbox.
func (m *Memory) Drop(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, err := m.idle(id)
	if err != nil {
		return err
	}
	m.entries = slices.DeleteFunc(m.entries, func(other *entry) bool { return other == e })
	return nil
}

// Changed implements outbound.Outbox.
func (m *Memory) Changed() <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.changed == nil {
		m.changed = make(chan struct{}, 1)
	}
	return m.changed
}

// States counts all recipients by their state.
func (m *Memory) States() map[outbound.State]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	count := map[outbound.State]int{}
	for _, e := range m.entries {
		for _, r := range e.recipients {
			count[r.State]++
		}
	}
	return count
}
