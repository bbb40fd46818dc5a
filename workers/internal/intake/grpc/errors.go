package grpc

import (
	"context"
	"errors"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/intake"
)

// domain is ErrorInfo's domain of everything that mailporter says itself.
const domain = "mailporter"

// refuse is a status with exactly one ErrorInfo.
func refuse(code codes.Code, reason, problem, remedy string, more ...protoadapt.MessageV1) error {
	info := &errdetails.ErrorInfo{Reason: reason, Domain: domain}
	if remedy != "" {
		info.Metadata = map[string]string{"remedy": remedy}
		problem += ": " + remedy
	}
	st, err := status.New(code, problem).WithDetails(append([]protoadapt.MessageV1{info}, more...)...)
	if err != nil {
		return status.Error(code, problem) // only a code OK cannot carry details
	}
	return st.Err()
}

// later is a refusal for now.
func later(reason, problem, remedy string, after time.Duration) error {
	return refuse(codes.Unavailable, reason, problem, remedy, &errdetails.RetryInfo{RetryDelay: durationpb.New(after)})
}

func invalid(reason, problem, remedy string) error {
	return refuse(codes.InvalidArgument, reason, problem, remedy)
}

// patience is what a caller is told to wait where nothing is known.
const patience = 5 * time.Second

// codeOf is the table from what the rules say to codes.
func codeOf(r intake.Reason) codes.Code {
	switch r {
	case intake.MailboxesUnknown:
		return codes.Unavailable
	case intake.SenderUnknown, intake.SenderForbidden:
		return codes.PermissionDenied
	case intake.TooLarge, intake.TooManyRecipients:
		return codes.ResourceExhausted
	}
	return codes.InvalidArgument
}

// fromRefusal says what the rules said.
func fromRefusal(r *intake.Refusal) error {
	if r.Reason == intake.MailboxesUnknown {
		return later(string(r.Reason), r.Problem, r.Remedy, patience)
	}
	return refuse(codeOf(r.Reason), string(r.Reason), r.Problem, r.Remedy)
}

// fromOutbox is for an error of the Outbox, which may be the body's own: one of ours, a refusal, or that the caller is gone.
// Texts of others stay in the log.
func (s *Server) fromOutbox(ctx context.Context, doing string, err error) error {
	var own interface{ GRPCStatus() *status.Status }
	r := intake.AsRefusal(err)
	switch {
	case ctx.Err() != nil:
		return status.FromContextError(ctx.Err()).Err()
	case r != nil:
		return fromRefusal(r)
	case errors.As(err, &own):
		return own.GRPCStatus().Err()
	case fault.Of(err) == fault.Permanent:
		return refuse(codes.ResourceExhausted, "OUTBOX_REFUSES", err.Error(), "")
	}
	s.config.Log.Error("the outbox does not work", "doing", doing, "error", err)
	return later("OUTBOX_UNAVAILABLE", "the outbox cannot do it now", "try again; the worker's log has the cause", patience)
}
