package service

import (
	"context"
	"errors"

	"mailporter/broker/internal/audit"
	"mailporter/broker/internal/directory"
	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/policy"
	"mailporter/broker/internal/remedy"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

// CheckMailbox implements the contract. That the provider says no is an answer, not an error: it stands in the status.
func (s *Server) CheckMailbox(ctx context.Context, req *brokerv1.CheckMailboxRequest) (*brokerv1.CheckMailboxResponse, error) {
	st, err := s.operate(ctx, "CheckMailbox", req.GetSelector(), func(sec *directory.Section) error {
		if sec.Credential == nil {
			return nil // only the mail server could tell whether a password is good
		}
		return s.Tokens.Check(ctx, keeper.Wish{Credential: sec.Credential, Audience: sec.Audience, Margin: sec.Margin})
	})
	if err != nil {
		return nil, err
	}
	return &brokerv1.CheckMailboxResponse{Status: st}, nil
}

// ResetMailbox implements the contract.
func (s *Server) ResetMailbox(ctx context.Context, req *brokerv1.ResetMailboxRequest) (*brokerv1.ResetMailboxResponse, error) {
	st, err := s.operate(ctx, "ResetMailbox", req.GetSelector(), func(sec *directory.Section) error {
		if sec.Credential == nil {
			s.passwords.forget(sec)
			return nil
		}
		s.triage.Forget(sideName(sec))
		return s.Tokens.Reset(ctx, sec.Credential)
	})
	if err != nil {
		return nil, err
	}
	return &brokerv1.ResetMailboxResponse{Status: st}, nil
}

// operate does what an operator asks of one side of a mailbox and returns its status afterwards. What the provider or the
// state of the credential has against it stands in the status; what kept it from being done at all is the error.
func (s *Server) operate(ctx context.Context, method string, sel *brokerv1.Selector, do func(*directory.Section) error) (*brokerv1.MailboxStatus, error) {
	d := directionIn(sel.GetDirection())
	if d == "" {
		return nil, invalid("DIRECTION_MISSING", "selector.direction", "is not set").Err()
	}
	c := s.open(ctx, method, sel.GetMailbox(), d)
	section, no := c.permit(policy.Admin)
	if no != nil {
		return nil, c.close(ctx, no)
	}
	var fault *remedy.Fault
	switch err := do(section); {
	case errors.As(err, &fault):
		c.entry.Reason = fault.Reason
	case err != nil:
		no = fromError(err, section.Credential)
	}
	if err := c.close(ctx, no); err != nil {
		return nil, err
	}
	s.Log.Info("an operator asked", "method", method, "mailbox", section.Mailbox, "protocol", string(section.Protocol), "identity", c.entry.Identity,
		"decision", string(audit.Allow), "reason", c.entry.Reason)
	return s.statusOf(ctx, section), nil
}
