package ews

import (
	"errors"
	"fmt"
	"time"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/web"
)

// Remedies for mail that does not go out.
const (
	sendAs   = "an administrator must grant the right to send as the address in From (Add-RecipientPermission -AccessRights SendAs), or From must be the mailbox's own address"
	unblock  = "an administrator must find out why Exchange blocks the sender, and unblock it (Restricted entities)"
	delegate = "an administrator must grant the user full access to the sending mailbox (Add-MailboxPermission -AccessRights FullAccess)"
	makeRoom = "somebody must make room in the sending mailbox: Exchange keeps the draft and a copy of what was sent"
	window   = "wait for the 24 hour window to move, or spread the mail over more mailboxes"
	smaller  = "send less, or an administrator must raise the limits: the mailbox's MaxSendSize, and on premises those of EWS in web.config"
	mend     = "mend the message: Exchange cannot read its MIME structure"
	correct  = "correct the addresses in To, Cc and Bcc, and those of the envelope"

	headerRecipients = "send one message to all that To, Cc and Bcc name, or use server-type SMTP: EWS takes the recipients from the message's header"
)

// tooLarge is the reason of an answer 413, which comes from the web server in front of Exchange.
const tooLarge = "MESSAGE_TOO_LARGE"

// sendingCodes are what response codes mean for mail that goes out. fault.Auth: nothing goes out of this mailbox before
// somebody acts, and mail must not die for it.
var sendingCodes = map[string]meaning{
	"ErrorSendAsDenied":      {kind: fault.Permanent, remedy: sendAs},
	"ErrorInvalidRecipients": {kind: fault.Permanent, remedy: correct}, "ErrorMissingRecipients": {kind: fault.Permanent, remedy: correct},
	tooLarge: {kind: fault.Permanent, remedy: smaller}, "ErrorMessageSizeExceeded": {kind: fault.Permanent, remedy: smaller},
	"ErrorDataSizeLimitExceeded": {kind: fault.Permanent, remedy: smaller}, "ErrorRequestStreamTooBig": {kind: fault.Permanent, remedy: smaller},
	"ErrorAttachmentSizeLimitExceeded": {kind: fault.Permanent, remedy: smaller},
	"ErrorMimeContentInvalid":          {kind: fault.Permanent, remedy: mend}, "ErrorMimeContentInvalidBase64String": {kind: fault.Permanent, remedy: mend},
	"ErrorMimeContentConversionFailed": {kind: fault.Permanent, remedy: mend}, "ErrorContentConversionFailed": {kind: fault.Permanent, remedy: mend},
	"ErrorUnsupportedMimeConversion": {kind: fault.Permanent, remedy: mend}, "ErrorItemCorrupt": {kind: fault.Permanent, remedy: mend},
	"ErrorCorruptData":   {kind: fault.Permanent, remedy: mend},
	"ErrorVirusDetected": {kind: fault.Permanent, remedy: "take the infected part out"}, "ErrorVirusMessageDeleted": {kind: fault.Permanent, remedy: "take the infected part out"},

	"ErrorMessageSubmissionBlocked": {kind: fault.Auth, remedy: unblock}, "ErrorAccountSuspend": {kind: fault.Auth, remedy: unblock},
	"ErrorAccountSuspendShowTierUpgrade": {kind: fault.Auth, remedy: unblock},
	"ErrorQuotaExceeded":                 {kind: fault.Auth, remedy: makeRoom}, "ErrorMessagePerFolderCountReceiveQuotaExceeded": {kind: fault.Auth, remedy: makeRoom},
	"ErrorFolderNotFound": {kind: fault.Auth, remedy: delegate}, "ErrorSavedItemFolderNotFound": {kind: fault.Auth, remedy: delegate},

	"ErrorSubmissionQuotaExceeded": {kind: fault.Throttled, after: time.Hour, remedy: window}, "ErrorExceededMessageLimit": {kind: fault.Throttled, after: time.Hour, remedy: window},
	"ErrorExceededMessageLimitShowTierUpgrade":      {kind: fault.Throttled, after: time.Hour, remedy: window},
	"ErrorExceededMaxRecipientLimit":                {kind: fault.Throttled, after: time.Hour, remedy: window},
	"ErrorExceededMaxRecipientLimitBlock":           {kind: fault.Throttled, after: time.Hour, remedy: window},
	"ErrorExceededMaxRecipientLimitShowTierUpgrade": {kind: fault.Throttled, after: time.Hour, remedy: window},
}

// staleReasons say that somebody changed the item since its change key was told.
var staleReasons = []string{"ErrorStaleObject", "ErrorChangeKeyRequired", "ErrorChangeKeyRequiredForWriteOperations", "ErrorIrresolvableConflict", "ErrorInvalidChangeKey"}

// unclearReasons say that Exchange broke down over a request, which may have been done by then.
var unclearReasons = []string{"ErrorTimeoutExpired", "ErrorInternalServerError", "ErrorInternalServerTransientError", "ErrorConnectionFailed", "ErrorClientDisconnected",
	"ErrorMailboxFailover", "ErrorMailboxStoreUnavailable", batchStopped}

// outgoing says what an error of a request means for mail that goes out.
func (r request) outgoing(err error) error {
	if web.IsNotConnected(err) {
		return outbound.Unreachable(err)
	}
	var e *fault.Error
	if err == nil || !errors.As(err, &e) || e.Kind == fault.Throttled && e.After > 0 {
		return err
	}
	m, known := sendingCodes[e.Reason]
	switch {
	case known:
	case r.acts && e.Kind == fault.Temporary && hasReason(err, unclearReasons...):
		m = meaning{kind: fault.InDoubt}
	case e.Kind == fault.Temporary && e.Remedy != "":
		m = meaning{kind: fault.Auth, remedy: e.Remedy} // there is something that somebody can do
	default:
		return err
	}
	return &fault.Error{Kind: m.kind, After: m.after, Reason: e.Reason, Remedy: m.remedy, Err: fmt.Errorf("%s: %w", r.what, e.Err)}
}
