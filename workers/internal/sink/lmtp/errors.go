package lmtp

import (
	"fmt"

	"mailporter/workers/internal/esmtp"
	"mailporter/workers/internal/fault"
)

// Codes of RFC 3463 that say more than the reply's first digit.
var (
	mailboxFull     = [3]int{5, 2, 2}
	messageTooLarge = [3]int{5, 3, 4}
	tooLargeForOne  = [3]int{5, 2, 3}
)

// atMail is a refusal before the message: only its size is about the message itself.
func atMail(r esmtp.Reply) error {
	kind := fault.Temporary
	if r.Enhanced == messageTooLarge || r.Enhanced == tooLargeForOne {
		kind = fault.Permanent
	}
	return fault.New(kind, fmt.Errorf("mail: %w", r))
}

// atRecipient is a refusal of the mailbox: never the message's fault, so that no mailbox is emptied into the quarantine
// because its name is misspelt.
func atRecipient(r esmtp.Reply, recipient string) error {
	err := &fault.Error{Kind: fault.Temporary, Err: fmt.Errorf("recipient %s: %w", recipient, r)}
	switch {
	case full(r):
		err.Reason, err.Remedy = "LMTP_MAILBOX_FULL", "make room in the mailbox at the LMTP server"
	case r.Code/100 == 5:
		err.Reason, err.Remedy = "LMTP_UNKNOWN_RECIPIENT", "make the mailbox at the LMTP server, or correct the sink's recipient"
	}
	return err
}

// atMessage is a refusal of the message after it was seen.
func atMessage(r esmtp.Reply) error {
	err := &fault.Error{Kind: fault.Temporary, Err: fmt.Errorf("message: %w", r)}
	switch {
	case full(r):
		err.Reason, err.Remedy = "LMTP_MAILBOX_FULL", "make room in the mailbox at the LMTP server"
	case r.Code/100 == 5:
		err.Kind = fault.Permanent
	}
	return err
}

// full: RFC 5321 has 452 and 552 for it, RFC 3463 X.2.2.
func full(r esmtp.Reply) bool {
	if r.Enhanced == [3]int{} {
		return r.Code == 452 || r.Code == 552
	}
	return r.Enhanced == mailboxFull || r.Enhanced == [3]int{4, 2, 2}
}
