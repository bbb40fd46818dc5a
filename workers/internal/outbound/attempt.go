package outbound

import (
	"context"
	"errors"
	"io"
	"time"

	"mailporter/workers/internal/fault"
)

// run makes one attempt at a job and settles it; unless ctx has ended it may claim the next. The error is what the mailbox as a
// whole ran into; nil if it was about single recipients.
func (s *Sender) run(ctx, work context.Context, l *lane, j Job) (next []Job, err error) {
	began := time.Now()
	s.Board.change(j.Mailbox, func(m *MailboxStatus) { m.Running++ })
	if o, known := s.unsettled.take(j); known {
		return s.conclude(ctx, work, l, j, o), nil
	}
	receipt, err, sure := s.attempt(work, l, &j)
	if sure {
		s.learn(work, l, err)
		err = s.reached(l, err)
		s.rest(l, err)
	}
	o := outcome{receipt, err, judge(s.Options, l.holds(err), j, receipt, err, time.Now()), time.Now(), time.Since(began)}
	if !sure {
		s.unsettled.add(j, o)
		s.Board.ended(j.Mailbox, false, nil)
		return nil, nil
	}
	if work.Err() != nil && err != nil && kindOf(err) == fault.Temporary {
		o.verdict.Free = true // it was stopped, it did not fail
	}
	return s.conclude(ctx, work, l, j, o), err
}

// conclude tells everybody of an outcome and records it, or remembers it for when the job comes back.
func (s *Sender) conclude(ctx, work context.Context, l *lane, j Job, o outcome) []Job {
	s.tell(work, j, o.receipt, o.verdict)
	next, recorded := s.settle(work, j, o.verdict, s.follow(ctx, l, o.err))
	if !recorded {
		s.unsettled.add(j, o)
	}
	s.note(j, o.verdict, o.err, o.took)
	return next
}

// attempt offers the message unless it was sent already. It ends the job's doubt where it learns what became of an earlier
// attempt. sure is false if the claim was lost: somebody else decides.
func (s *Sender) attempt(ctx context.Context, l *lane, j *Job) (r Receipt, err error, sure bool) {
	ctx, release := s.keep(ctx, *j)
	b := stored{ctx: ctx, outbox: s.Outbox, job: *j}
	if d, ok := l.transport.(Drafter); ok {
		err = s.inTwoSteps(ctx, d, l, j, b)
		return Receipt{}, err, release()
	}
	r, err = s.inOneStep(ctx, l, j, b)
	return r, err, release()
}

// inOneStep sends the message unless an earlier attempt did.
func (s *Sender) inOneStep(ctx context.Context, l *lane, j *Job, b stored) (r Receipt, err error) {
	if sent, err := s.sentBefore(ctx, l, *j, b); sent || err != nil {
		return Receipt{}, err
	}
	booked, err := s.book(ctx, l, *j)
	if err != nil {
		return Receipt{}, err
	}
	defer func() { s.unbook(ctx, l, *j, booked, r, err) }()
	if err := s.clearTrace(ctx, *j); err != nil {
		return Receipt{}, err
	}
	if j.InDoubt {
		s.mark(*j, l.looks())
	}
	r, err = l.transport.Send(ctx, j.Envelope, b)
	if err != nil && kindOf(err) == fault.InDoubt && l.finder != nil {
		err = errors.Join(err, s.leaveTrace(ctx, *j, r))
	}
	return r, err
}

// mark says, before a message in doubt is offered again, that its recipients may get it twice. It comes first: a worker that
// dies in between must not leave a message that came twice and of which nobody was told. looked: it was not among what was sent.
func (s *Sender) mark(j Job, looked bool) {
	s.Metrics.repeat(s.Protocol)
	s.Log.Warn("message sent again: an earlier attempt ended without an answer and may have delivered it",
		"mailbox", j.Mailbox, "id", j.ID, "protocol", s.Protocol, "attempt", j.Attempts+1, "looked", looked)
}

// keep extends the claim until release is called, and cancels the context it returns once the claim is lost. release says
// whether the claim was kept.
func (s *Sender) keep(ctx context.Context, j Job) (context.Context, func() bool) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		cancel(s.extend(ctx, j))
	}()
	return ctx, func() bool {
		cancel(nil)
		<-done
		if !errors.Is(context.Cause(ctx), ErrLost) {
			return true
		}
		s.Metrics.claimLost(s.Protocol)
		s.Log.Warn("the claim was lost while the message was being sent", "mailbox", j.Mailbox, "id", j.ID, "protocol", s.Protocol)
		return false
	}
}

// extend makes the claim last until ctx ends, or the claim is lost: ErrLost. A store that has not answered for as long as a
// claim lasts has lost it: others may be sending the message by now.
func (s *Sender) extend(ctx context.Context, j Job) error {
	t := time.NewTicker(s.Options.Claim / 3)
	defer t.Stop()
	for until := time.Now().Add(s.Options.Claim); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		asked := time.Now()
		switch err := s.Outbox.Extend(ctx, j, s.Options.Claim); {
		case err == nil:
			until = asked.Add(s.Options.Claim)
		case errors.Is(err, ErrLost) || !time.Now().Before(until):
			return ErrLost
		}
	}
}

// stored is the message of a claimed job.
type stored struct {
	ctx    context.Context
	outbox Outbox
	job    Job
}

// Open implements mail.Body.
func (b stored) Open() (io.ReadCloser, error) { return b.outbox.Open(b.ctx, b.job) }

// Size implements mail.Body.
func (b stored) Size() int64 { return b.job.Size }

// note tells everybody how an attempt ended.
func (s *Sender) note(j Job, v Verdict, err error, took time.Duration) {
	kind := "sent"
	switch {
	case err != nil:
		kind = kindOf(err).String()
	case len(v.Dead)+len(v.Later) > 0:
		kind = "partial"
	}
	s.Metrics.attempt(s.Protocol, kind, took)
	s.Board.ended(j.Mailbox, len(v.Sent) > 0, err)
	log := s.Log.With("mailbox", j.Mailbox, "protocol", s.Protocol, "kind", kind, "id", j.ID, "attempt", j.Attempts+1,
		"sent", len(v.Sent), "dead", len(v.Dead), "later", len(v.Later), "took", took)
	switch {
	case err == nil && kind == "sent":
		log.Info("message sent")
	case waits(err):
		log.Info("message waits for room in the mailbox's limits", "why", err, "next", v.At)
	case err == nil:
		log.Warn("message sent to some of its recipients", "next", v.At)
	case kindOf(err) == fault.Auth:
		reason, remedy := why(err)
		log.Error("somebody must act before this mailbox can send", "error", err, "reason", reason, "remedy", remedy, "next", v.At)
	case v.Held:
		log.Error("message in doubt; an operator must decide", "error", err)
	default:
		log.Warn("message not sent", "error", err, "next", v.At)
	}
}
