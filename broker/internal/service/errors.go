package service

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
)

// domain is ErrorInfo's domain of everything that the broker says itself.
const domain = "mailporter"

// refusal is an error on its way to the caller. It always carries exactly one ErrorInfo.
type refusal struct {
	code    codes.Code
	message string
	info    *errdetails.ErrorInfo
	more    []protoadapt.MessageV1
	after   time.Duration // 0 = do not say
}

// refuse starts a refusal. class and remedy may be empty.
func refuse(code codes.Code, reason, class, message, remedy string) *refusal {
	meta := map[string]string{}
	for k, v := range map[string]string{"class": class, "remedy": remedy} {
		if v != "" {
			meta[k] = v
		}
	}
	return &refusal{code: code, message: message, info: &errdetails.ErrorInfo{Reason: reason, Domain: domain, Metadata: meta}}
}

// Err is the status with its details.
func (r *refusal) Err() error {
	details := []protoadapt.MessageV1{r.info}
	if r.after > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(r.after)})
	}
	st, err := status.New(r.code, r.message).WithDetails(append(details, r.more...)...)
	if err != nil {
		return status.Error(r.code, r.message) // only a code OK cannot carry details
	}
	return st.Err()
}

// send is Err, and tells grpc's own retries when to come back: they do not read RetryInfo.
func (r *refusal) send(ctx context.Context) error {
	if r.after > 0 {
		// It fails only outside of a call.
		_ = grpc.SetTrailer(ctx, metadata.Pairs("grpc-retry-pushback-ms", strconv.FormatInt(max(1, r.after.Milliseconds()), 10)))
	}
	return r.Err()
}

// deniedRefusal is the one answer to forbidden and unknown mailboxes: nobody may find out which addresses exist.
func deniedRefusal() *refusal {
	return refuse(codes.PermissionDenied, "POLICY_DENIED", string(remedy.WrongConfig), "the policy does not allow this, or there is no such mailbox",
		"have the operator of the broker check policy and mailboxes; the audit has the reason")
}

func invalid(reason, field, problem string) *refusal {
	r := refuse(codes.InvalidArgument, reason, string(remedy.WrongConfig), field+": "+problem, "")
	r.more = append(r.more, &errdetails.BadRequest{FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: field, Description: problem}}})
	return r
}

// leastWait is what a caller is told to wait where nothing is known.
const leastWait = time.Second

// fromError turns what the keeper returned into a refusal. Texts of unknown errors stay here: they may hold anything.
func fromError(err error, c *token.Credential) *refusal {
	var f *remedy.Fault
	switch {
	case errors.As(err, &f):
		return fromFault(f, c)
	case errors.Is(err, context.DeadlineExceeded):
		return refuse(codes.DeadlineExceeded, "TIMED_OUT", string(remedy.Transient), "no token within the caller's deadline; the renewal goes on", "ask again")
	case errors.Is(err, context.Canceled):
		return refuse(codes.Canceled, "CANCELLED", string(remedy.Transient), "the caller went away", "")
	}
	return refuse(codes.Internal, "INTERNAL", string(remedy.Transient), "the broker failed in this call", "report this with the broker's log")
}

func fromFault(f *remedy.Fault, c *token.Credential) *refusal {
	r := refuse(codeOf(f.Class), f.Reason, string(f.Class), f.Reason+": "+f.Remedy, f.Remedy)
	for k, v := range map[string]string{"provider": string(c.Provider), "credential": c.Label, "error": f.OAuth, "suberror": f.Suberror,
		"codes": join(f.Codes), "correlationId": f.Trace} {
		if v != "" {
			r.info.Metadata[k] = v
		}
	}
	if f.Class.Freezes() {
		r.more = append(r.more, &errdetails.PreconditionFailure{Violations: []*errdetails.PreconditionFailure_Violation{
			{Type: string(f.Class), Subject: c.Label, Description: f.Remedy}}})
	} else {
		r.after = max(f.After, leastWait)
	}
	if f.Link != "" {
		r.more = append(r.more, &errdetails.Help{Links: []*errdetails.Help_Link{{Description: f.Remedy, Url: f.Link}}})
	}
	return r
}

func codeOf(c remedy.Class) codes.Code {
	switch {
	case c.Freezes():
		return codes.FailedPrecondition
	case c == remedy.Throttled:
		return codes.ResourceExhausted
	}
	return codes.Unavailable
}

func join(codes []int) string {
	texts := make([]string, len(codes))
	for i, c := range codes {
		texts[i] = strconv.Itoa(c)
	}
	return strings.Join(texts, ",")
}

// unaudited is the answer while the audit cannot be written.
func unaudited() *refusal {
	r := refuse(codes.Unavailable, "AUDIT_UNAVAILABLE", string(remedy.Transient), "the broker cannot write its audit", "have the operator of the broker look at the audit's disk")
	r.after = 5 * time.Second
	return r
}

func rateLimited(wait time.Duration) *refusal {
	r := refuse(codes.ResourceExhausted, "CALLER_RATE_LIMITED", string(remedy.Throttled), fmt.Sprintf("more calls than the policy's rate; wait %v", wait),
		"wait, or raise rate in the policy")
	r.after = wait
	return r
}
