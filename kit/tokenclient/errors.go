package tokenclient

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Class says who or what can end a failure.
type Class string

// The classes.
const (
	NeedsAdmin  Class = "needs-admin"  // an administrator of the provider's side
	NeedsUser   Class = "needs-user"   // the mailbox's user
	WrongConfig Class = "wrong-config" // whoever configures the broker or this worker
	Throttled   Class = "throttled"    // patience, for Wait
	Transient   Class = "transient"    // it will pass
)

// Reasons that this package gives itself; all others are the broker's.
const (
	ReasonFreshRefused = "SERVER_REJECTS_FRESH_TOKEN" // the mailbox is at fault, not the token
	ReasonNoAnswer     = "BROKER_NO_ANSWER"           // no broker answered in time
	ReasonBadAnswer    = "BROKER_ANSWER_INVALID"      // the answer breaks the contract
)

// Error is why there is no token or what the broker said about a refused one. Its text holds no secret.
type Error struct {
	Op        string        // what was tried: acquire token
	Mailbox   string        // for which mailbox, or empty
	Direction Direction     // and which side of it
	Code      string        // gRPC code: FAILED_PRECONDITION
	Reason    string        // UPPER_SNAKE_CASE name, or empty
	Class     Class         // who can end it
	Remedy    string        // one sentence: who must do what, or empty
	Wait      time.Duration // not before this long; 0 = unknown
	Message   string        // the broker's own words
	Err       error         // what lies beneath: the context's error, the server's refusal, or nil
}

// Error tells what was tried, for whom, why it failed and what to do, in one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Mailbox != "" {
		fmt.Fprintf(&b, " for %s %s", e.Mailbox, e.Direction)
	}
	for _, part := range []string{e.Reason, e.Message} {
		if part != "" {
			b.WriteString(": " + part)
		}
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	if e.Remedy != "" {
		b.WriteString(" (" + e.Remedy + ")")
	}
	return b.String()
}

// Unwrap gives what lies beneath.
func (e *Error) Unwrap() error { return e.Err }

// Is says whether target is an *Error with the same Reason: errors.Is(err, &Error{Reason: "POLICY_DENIED"}).
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Reason != "" && t.Reason == e.Reason
}

// Temporary says whether it may pass by itself. It is what NeedsHuman is not.
func (e *Error) Temporary() bool { return !e.NeedsHuman() }

// NeedsHuman says whether somebody must act first.
func (e *Error) NeedsHuman() bool {
	return e.Class == NeedsAdmin || e.Class == NeedsUser || e.Class == WrongConfig
}

// maxMessage bounds what is kept of the broker's words, in bytes.
const maxMessage = 1024

// fromStatus turns what a call returned into an *Error: the one place where gRPC statuses are read.
func fromStatus(ctx context.Context, op string, a Ask, err error) error {
	if err == nil {
		return nil
	}
	st := status.Convert(err)
	e := &Error{Op: op, Mailbox: a.Mailbox, Direction: a.Direction, Code: codeName(st.Code()), Class: classOf(st.Code()),
		Message: clip(ownWords(st.Message()), maxMessage)}
	switch st.Code() {
	case codes.DeadlineExceeded:
		e.Reason, e.Err = ReasonNoAnswer, context.DeadlineExceeded
	case codes.Canceled:
		e.Err = context.Cause(ctx)
	}
	for _, d := range st.Details() {
		e.detail(d)
	}
	return e
}

// domain is ErrorInfo's domain for everything that the broker says itself.
const domain = "mailporter"

func (e *Error) detail(d any) {
	switch d := d.(type) {
	case *errdetails.ErrorInfo:
		if d.GetDomain() != domain {
			return
		}
		e.Reason, e.Remedy = d.GetReason(), d.GetMetadata()["remedy"]
		if c := Class(d.GetMetadata()["class"]); c.known() {
			e.Class = c
		}
	case *errdetails.RetryInfo:
		e.Wait = max(0, d.GetRetryDelay().AsDuration())
	}
}

func (c Class) known() bool {
	switch c {
	case NeedsAdmin, NeedsUser, WrongConfig, Throttled, Transient:
		return true
	}
	return false
}

// classOf is the class of a status that does not name one: unknown errors pass, refusals on principle do not.
func classOf(c codes.Code) Class {
	switch c {
	case codes.PermissionDenied, codes.Unauthenticated, codes.InvalidArgument, codes.FailedPrecondition, codes.Unimplemented,
		codes.NotFound, codes.OutOfRange:
		return WrongConfig
	case codes.ResourceExhausted:
		return Throttled
	}
	return Transient
}

// codeName is the name of google.rpc.Code: FAILED_PRECONDITION where Go says FailedPrecondition.
func codeName(c codes.Code) string {
	var b strings.Builder
	for i, r := range c.String() {
		if i > 0 && 'A' <= r && r <= 'Z' && c != codes.OK {
			b.WriteByte('_')
		}
		b.WriteRune(r)
	}
	return strings.ToUpper(b.String())
}

// ownWords cuts off what the library puts before the broker's words once its retries are used up:
// "max retries exhausted: failed after 4 attempts: rpc error: code = Unavailable desc = ...".
func ownWords(message string) string {
	if !strings.HasPrefix(message, "max retries exhausted") {
		return message
	}
	if _, words, ok := strings.Cut(message, " desc = "); ok {
		return words
	}
	return message
}

// clip bounds s to n bytes of printable text on one line.
func clip(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

// badAnswer is the error for an answer that breaks the contract.
func badAnswer(op string, a Ask, what string) error {
	return &Error{Op: op, Mailbox: a.Mailbox, Direction: a.Direction, Code: "INTERNAL", Reason: ReasonBadAnswer, Class: Transient,
		Message: what, Remedy: "run the same version of broker and worker"}
}
