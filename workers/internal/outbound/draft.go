package outbound

import (
	"context"
	"errors"
	"fmt"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
)

// What is said of a draft that an earlier attempt sent without an answer, and that nobody finds any more.
var (
	errUnseen   = errors.New("an earlier attempt ended without an answer, and its message is not to be seen yet, sent or not")
	errVanished = errors.New("an earlier attempt ended without an answer, and its message is neither in the drafts nor in the sent items: it may be sent, and the copy removed")
)

// looks is how many attempts a draft that vanished is looked for: providers show what they moved with some delay.
const looks = 4

// inTwoSteps drafts the message unless an earlier attempt did, and sends the draft unless one did.
func (s *Sender) inTwoSteps(ctx context.Context, d Drafter, l *lane, j *Job, b mail.Body) error {
	draft, sent, err := earlier(ctx, d, l.settings.Outbound.OnUnknown == tokenclient.HoldUnknown, j)
	if sent || err != nil {
		return err
	}
	j.InDoubt = false // nothing was sent so far
	if err := s.book(ctx, l, *j); err != nil {
		return err
	}
	if draft == "" {
		if draft, err = d.Draft(ctx, j.Envelope, b); err != nil {
			return err
		}
		if err := s.Outbox.Drafted(ctx, *j, draft); err != nil {
			return fmt.Errorf("remember the draft: %w", err) // it stays behind unsent; the next attempt makes another one
		}
	}
	return d.SendDraft(ctx, draft)
}

// earlier tells what became of an earlier attempt's draft. Without one nothing was sent, whatever happened: a draft is
// remembered before it is sent. hold: what vanished is not sent again.
func earlier(ctx context.Context, d Drafter, hold bool, j *Job) (draft string, sent bool, err error) {
	if j.Draft == "" {
		return "", false, nil
	}
	fate, err := d.Look(ctx, j.Draft)
	switch {
	case err != nil && j.InDoubt:
		return "", false, stillInDoubt(err)
	case err != nil:
		return "", false, err
	case fate == Vanished && j.InDoubt && j.Attempts < looks:
		return "", false, fault.New(fault.InDoubt, errUnseen)
	case fate == Vanished && j.InDoubt && hold:
		return "", false, fault.New(fault.InDoubt, errVanished)
	case fate == Waiting:
		return j.Draft, false, nil
	}
	return "", fate == Gone, nil
}
