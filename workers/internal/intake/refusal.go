package intake

import (
	"errors"
	"fmt"
)

// Reason names why something is not taken, in UPPER_SNAKE_CASE: part of the gRPC contract.
type Reason string

// The reasons.
const (
	MailboxesUnknown  Reason = "MAILBOXES_UNKNOWN"   // for now: the broker has not answered yet
	SenderMissing     Reason = "SENDER_MISSING"      // the null sender, which belongs to no mailbox
	SenderUnknown     Reason = "SENDER_UNKNOWN"      // no mailbox sends as this address
	SenderForbidden   Reason = "SENDER_FORBIDDEN"    // this submitter may not
	AddressInvalid    Reason = "ADDRESS_INVALID"     // no mail address, or it needs SMTPUTF8
	EnvelopeInvalid   Reason = "ENVELOPE_INVALID"    // a parameter that RFC 3461 does not know
	NoRecipients      Reason = "NO_RECIPIENTS"       // nobody would get it
	TooManyRecipients Reason = "TOO_MANY_RECIPIENTS" // more than the door takes for one message
	TooLarge          Reason = "MESSAGE_TOO_LARGE"   // more bytes than the door takes
	LoneLineEnd       Reason = "LONE_LINE_END"       // a CR or LF that is not part of CRLF
	Loop              Reason = "LOOP"                // too many Received lines
)

// Refusal is why a message is not taken. Unless its reason is MailboxesUnknown, the same one will never be.
type Refusal struct {
	Reason  Reason
	Problem string // one clause
	Remedy  string // what to do; empty if the problem says it
}

// Error is the problem and what to do.
func (r *Refusal) Error() string {
	if r.Remedy == "" {
		return r.Problem
	}
	return r.Problem + ": " + r.Remedy
}

func refuse(why Reason, remedy, format string, args ...any) *Refusal {
	return &Refusal{why, fmt.Sprintf(format, args...), remedy}
}

// AsRefusal is the refusal in err, nil if there is none.
func AsRefusal(err error) *Refusal {
	var r *Refusal
	if errors.As(err, &r) {
		return r
	}
	return nil
}
