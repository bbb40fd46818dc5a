package grpc

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"mailporter/workers/internal/intake"
	"mailporter/workers/internal/outbound"

	outboxv1 "mailporter/gen/mailporter/outbox/v1"
)

// GetSubmission implements outboxv1.OutboxServiceServer.
func (s *Server) GetSubmission(ctx context.Context, req *outboxv1.GetSubmissionRequest) (*outboxv1.GetSubmissionResponse, error) {
	by, err := s.caller(ctx)
	if err != nil {
		return nil, err
	}
	m, err := s.outbox.Get(ctx, req.GetId())
	if errors.Is(err, outbound.ErrNone) { // it may have been sent this very moment, so this order
		m, err = s.outbox.Sent(ctx, req.GetId())
	}
	switch {
	case errors.Is(err, outbound.ErrNone) || err == nil && !concerns(by, m):
		return nil, refuse(codes.NotFound, "SUBMISSION_UNKNOWN", "there is no such message",
			"what was sent is remembered for 7 days; the worker's operator sees the rest with brokerctl outbox")
	case err != nil:
		return nil, s.fromOutbox(ctx, "read a message", err)
	}
	return &outboxv1.GetSubmissionResponse{Submission: toSubmission(m)}, nil
}

// concerns says whether a submitter may know how a message stands: if he might have sent it himself.
func concerns(by intake.Submitter, m outbound.Status) bool {
	return by.MaySend(cmp.Or(m.From, m.Mailbox))
}

// states are what callers see of outbound's.
var states = map[outbound.State]outboxv1.RecipientState{
	outbound.Queued:   outboxv1.RecipientState_RECIPIENT_STATE_QUEUED,
	outbound.Sending:  outboxv1.RecipientState_RECIPIENT_STATE_SENDING,
	outbound.Sent:     outboxv1.RecipientState_RECIPIENT_STATE_SENT,
	outbound.Deferred: outboxv1.RecipientState_RECIPIENT_STATE_DEFERRED,
	outbound.Unknown:  outboxv1.RecipientState_RECIPIENT_STATE_UNKNOWN,
	outbound.Dead:     outboxv1.RecipientState_RECIPIENT_STATE_DEAD,
}

func toSubmission(m outbound.Status) *outboxv1.Submission {
	out := &outboxv1.Submission{
		Id: m.ID, Mailbox: text(m.Mailbox), Sender: text(m.From), SizeBytes: m.Size,
		AcceptTime: moment(m.Accepted), Attempts: int32(m.Attempts), NextAttemptTime: moment(m.Next),
	}
	for _, r := range m.Recipients {
		out.Recipients = append(out.Recipients, &outboxv1.RecipientStatus{
			Address: text(r.Address), State: states[r.State], Reason: text(r.Reason), ChangeTime: moment(r.Changed),
		})
	}
	return out
}

// text makes a string fit to be sent: replies of servers and addresses that came by SMTP may be no UTF-8.
func text(s string) string { return strings.ToValidUTF8(s, "?") }

func moment(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
