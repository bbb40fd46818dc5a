package outbound

import (
	"context"
	"fmt"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
)

// inTwoSteps drafts the message unless an earlier attempt did, and sends the draft unless one did.
func (s *Sender) inTwoSteps(ctx context.Context, d Drafter, l *lane, j *Job, b mail.Body) (err error) {
	draft, sent, err := s.earlier(ctx, d, l, *j)
	if sent || err != nil {
		return err
	}
	vanished := j.InDoubt && j.Draft != "" && draft == ""
	j.InDoubt = vanished // otherwise nothing was sent so far
	booked, err := s.book(ctx, l, *j)
	if err != nil {
		return err
	}
	defer func() { s.unbook(ctx, l, *j, booked, Receipt{}, err) }()
	if vanished {
		s.mark(*j, true)
	}
	if draft == "" {
		if draft, err = s.draft(ctx, d, *j, b); err != nil {
			return err
		}
	}
	return d.SendDraft(ctx, draft)
}

// draft puts the message into the mailbox, unless an earlier attempt did that heard no answer, and remembers it.
func (s *Sender) draft(ctx context.Context, d Drafter, j Job, b mail.Body) (draft string, err error) {
	if f, ok := d.(DraftFinder); ok && j.Draft == "" && j.Attempts > 0 {
		if draft, err = f.FindDraft(ctx, j.Envelope, b, j.Accepted); err != nil {
			return "", err
		}
	}
	if draft == "" {
		if draft, err = d.Draft(ctx, j.Envelope, b); err != nil {
			return "", err
		}
	}
	if err := s.Outbox.Drafted(ctx, j, draft); err != nil {
		return "", fmt.Errorf("remember the draft: %w", err) // it stays behind unsent, for the next attempt to find
	}
	return draft, nil
}

// earlier tells what became of an earlier attempt's draft. Without one nothing was sent, whatever happened: a draft is
// remembered before it is sent.
func (s *Sender) earlier(ctx context.Context, d Drafter, l *lane, j Job) (draft string, sent bool, err error) {
	if j.Draft == "" {
		return "", false, nil
	}
	fate, err := d.Look(ctx, j.Draft)
	switch {
	case err != nil && j.InDoubt:
		return "", false, stillInDoubt(err)
	case err != nil:
		return "", false, err
	case fate == Vanished && j.InDoubt:
		return "", false, s.unseen(l, j, errVanished)
	case fate == Waiting:
		return j.Draft, false, nil
	}
	return "", fate == Gone, nil
}

// stillInDoubt keeps the doubt over a failed look, unless the mailbox itself is at fault.
func stillInDoubt(err error) error {
	if k := kindOf(err); k == fault.Auth || k == fault.Throttled {
		return err
	}
	return fault.New(fault.InDoubt, err)
}
