package outbound

import (
	"context"
	"errors"
	"io"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/fault"
)

// run makes one attempt at a job and settles it. The error is what the mailbox as a whole ran into; nil if it was about
// single recipients.
func (s *Sender) run(ctx context.Context, l *lane, j Job) error {
	began := time.Now()
	receipt, err, sure := s.attempt(ctx, l, &j)
	if !sure {
		s.Board.ended(j.Mailbox, false, nil)
		return nil
	}
	s.learn(ctx, l, err)
	v := judge(s.Options, l.holds(err), j, receipt, err, time.Now())
	if ctx.Err() != nil && err != nil && kindOf(err) == fault.Temporary {
		v.Free = true // it was stopped, it did not fail
	}
	s.settle(ctx, j, v)
	s.note(j, v, err, time.Since(began))
	return err
}

// holds says whether a message in doubt waits for an operator: only if nobody can look whether it was sent, or somebody
// looked and found nothing.
func (l *lane) holds(err error) bool {
	return l.settings.Outbound.OnUnknown == tokenclient.HoldUnknown && (!l.looks() || errors.Is(err, errVanished))
}

// looks says whether the transport can tell what became of an earlier attempt.
func (l *lane) looks() bool {
	switch l.transport.(type) {
	case SentFinder, Drafter:
		return true
	}
	return false
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
	if sent, err := s.sentBefore(ctx, l, *j, b); sent || err != nil {
		return Receipt{}, err, release()
	}
	if err := s.book(ctx, l, *j); err != nil {
		return Receipt{}, err, release()
	}
	r, err = l.transport.Send(ctx, j.Envelope, b)
	return r, err, release()
}

// errHeld says that nobody knows whether an earlier attempt sent the message.
var errHeld = errors.New("an earlier attempt ended without an answer: the message may be sent already; on-unknown is hold")

// sentBefore looks whether an earlier attempt sent the message after all.
func (s *Sender) sentBefore(ctx context.Context, l *lane, j Job, b stored) (bool, error) {
	if !j.InDoubt {
		return false, nil
	}
	finder, ok := l.transport.(SentFinder)
	if !ok && l.holds(nil) {
		return false, fault.New(fault.InDoubt, errHeld)
	}
	if !ok {
		return false, nil
	}
	sent, err := finder.FindSent(ctx, j, b)
	if err != nil {
		return false, stillInDoubt(err)
	}
	return sent, nil
}

// stillInDoubt keeps the doubt over a failed look, unless the mailbox itself is at fault.
func stillInDoubt(err error) error {
	if k := kindOf(err); k == fault.Auth || k == fault.Throttled {
		return err
	}
	return fault.New(fault.InDoubt, err)
}

// keep extends the claim until release is called, and cancels the context it returns once the claim is lost. release says
// whether the claim was kept.
func (s *Sender) keep(ctx context.Context, j Job) (context.Context, func() bool) {
	ctx, cancel := context.WithCancelCause(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		t := time.NewTicker(s.Options.Claim / 3)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
			}
			if err := s.Outbox.Extend(ctx, j, s.Options.Claim); errors.Is(err, ErrLost) {
				cancel(err)
				return
			}
		}
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
