package ews

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/web"
)

// meaning is what a response code means.
type meaning struct {
	kind   fault.Kind
	after  time.Duration // Throttled, if the answer does not say
	remedy string
}

const (
	grant   = "an administrator must grant the application full_access_as_app for this mailbox, or the user full access to it"
	account = "an administrator must look at the mailbox: its account, licence or state keeps everybody out"
	address = "correct the mailbox's user option: Exchange wants its primary SMTP address"
	full    = "the mailbox's owner must make room in it"
	program = "" // a mistake in this program: there is nothing that an operator could do
)

// codes of Exchange's. What is not here is temporary: permanence must be proved.
var codes = map[string]meaning{
	"ErrorServerBusy":              {kind: fault.Throttled, after: 30 * time.Second},
	"ErrorExceededConnectionCount": {kind: fault.Throttled, after: 10 * time.Second}, "ErrorExceededSubscriptionCount": {kind: fault.Throttled, after: time.Minute},
	"ErrorExceededFindCountLimit": {kind: fault.Throttled, after: time.Minute}, "ErrorTooManyObjectsOpened": {kind: fault.Throttled, after: 30 * time.Second},
	"ErrorMailboxMoveInProgress": {kind: fault.Throttled, after: 5 * time.Minute}, "ErrorCrossSiteRequest": {kind: fault.Throttled, after: time.Minute},
	"ErrorProxyRequestNotAllowed": {kind: fault.Throttled, after: time.Minute},

	"ErrorItemNotFound": {kind: fault.Gone}, "ErrorInvalidIdMalformed": {kind: fault.Gone}, "ErrorInvalidId": {kind: fault.Gone}, "ErrorInvalidIdEmpty": {kind: fault.Gone},
	"ErrorFolderNotFound": {kind: fault.Gone, remedy: noFolderRemedy}, "ErrorToFolderNotFound": {kind: fault.Gone, remedy: noFolderRemedy},
	"ErrorParentFolderNotFound": {kind: fault.Gone, remedy: noFolderRemedy}, "ErrorSyncFolderNotFound": {kind: fault.Gone, remedy: noFolderRemedy},
	"ErrorInvalidSyncStateData": {kind: fault.CursorLost},

	"ErrorMimeContentInvalid": {kind: fault.Permanent}, "ErrorMimeContentInvalidBase64String": {kind: fault.Permanent},
	"ErrorMimeContentConversionFailed": {kind: fault.Permanent}, "ErrorContentConversionFailed": {kind: fault.Permanent},
	"ErrorItemCorrupt": {kind: fault.Permanent}, "ErrorCorruptData": {kind: fault.Permanent}, "ErrorVirusDetected": {kind: fault.Permanent},
	"ErrorVirusMessageDeleted": {kind: fault.Permanent}, "ErrorMessageSizeExceeded": {kind: fault.Permanent}, "ErrorDataSizeLimitExceeded": {kind: fault.Permanent},

	"ErrorAccessDenied": {remedy: grant}, "ErrorImpersonateUserDenied": {remedy: grant}, "ErrorImpersonationDenied": {remedy: grant},
	"ErrorInvalidLogonType": {remedy: grant}, "ErrorCreateItemAccessDenied": {remedy: grant},
	"ErrorNonExistentMailbox": {remedy: address}, "ErrorNonPrimarySmtpAddress": {remedy: address}, "ErrorInvalidSmtpAddress": {remedy: address},
	"ErrorInvalidExchangeImpersonationHeaderData": {remedy: address}, "ErrorInvalidUserPrincipalName": {remedy: address},
	"ErrorMailboxConfiguration": {remedy: account}, "ErrorInvalidLicense": {remedy: account}, "ErrorOrganizationAccessBlocked": {remedy: account},
	"ErrorAccountDisabled": {remedy: account}, "ErrorPasswordExpired": {remedy: account}, "ErrorPasswordChangeRequired": {remedy: account},
	"ErrorQuotaExceeded": {remedy: full}, "ErrorMessagePerFolderCountReceiveQuotaExceeded": {remedy: full},
	"ErrorSchemaValidation": {remedy: program}, "ErrorInvalidRequest": {remedy: program},
}

const noFolderRemedy = "create the folder or correct folder-path"

// Reasons that are asked for here.
const (
	folderExists    = "ErrorFolderExists"
	batchStopped    = "ErrorBatchProcessingStopped"
	noSuchSubscript = "ErrorSubscriptionNotFound"
)

// said classifies a response code. The code is the reason: operators and the web know Exchange's own words best.
func said(code, text string, values []value) error {
	m := codes[code]
	text = strings.Join(strings.Fields(text), " ")
	text = strings.ToValidUTF8(text[:min(len(text), 200)], "")
	e := &fault.Error{Kind: m.kind, Reason: code, Remedy: m.remedy, After: m.after, Err: fmt.Errorf("the server answered %s: %s", code, text)}
	if d := backOff(values); d > 0 { // ErrorInternalServerError may wrap an ErrorServerBusy
		e.Kind, e.After = fault.Throttled, d
	}
	return e
}

// mostPatience bounds what a server may ask for.
const mostPatience = time.Hour

func backOff(values []value) time.Duration {
	for _, v := range values {
		n, err := strconv.ParseUint(strings.TrimSpace(v.Text), 10, 31)
		if v.Name == "BackOffMilliseconds" && err == nil {
			return min(time.Duration(n)*time.Millisecond, mostPatience)
		}
	}
	return 0
}

// fault is nil unless the answer is an error. A warning that a batch was stopped is one: the rest was not done.
func (m message) fault() error {
	if m.Class != "Error" && m.Code != batchStopped && (m.Code == "" || m.Code == "NoError") {
		return nil
	}
	return said(m.Code, m.Text, m.Values)
}

func (f *faultXML) fault() error { return said(f.Code, cmp.Or(f.Text, f.String), f.Values) }

const retired = "EWS is disabled for this tenant, mailbox or application: move the mailbox to type GRAPH. Until 2027-04-01 an Exchange administrator can run " +
	"Set-OrganizationConfig -EwsAllowedAppIDs with all needed client ids, then -EwsEnabled $true, and Set-CASMailbox -EwsEnabled $true"

// maxError bounds what is read of an error, in bytes; proxies answer with pages of HTML.
const maxError = 256 << 10

// refused classifies an answer of host's that is no 200.
func (r request) refused(host string, res *http.Response) error {
	e := &fault.Error{Kind: fault.Temporary, Err: fmt.Errorf("the server answered %d%s", res.StatusCode, diagnostics(res.Header))}
	after := web.RetryAfter(res.Header.Get("Retry-After"), time.Now())
	switch res.StatusCode {
	case http.StatusUnauthorized:
		e.Kind, e.Reason = fault.Auth, "TOKEN_REFUSED"
		return &refusal{e, host}
	case http.StatusForbidden:
		e.Reason, e.Remedy = "EWS_DISABLED", retired
		return e
	case http.StatusTooManyRequests:
		e.Kind, e.After, e.Reason = fault.Throttled, cmp.Or(after, 30*time.Second), "SERVER_THROTTLED"
		return e
	case http.StatusServiceUnavailable:
		e.Kind, e.After, e.Reason = fault.Throttled, cmp.Or(after, 10*time.Second), "SERVER_UNAVAILABLE"
		return e
	case http.StatusRequestEntityTooLarge:
		e.Kind, e.Reason = fault.Permanent, tooLarge
		return e
	case 456, 457:
		e.Reason, e.Remedy = "ACCOUNT_BLOCKED", account
		return e
	}
	return r.explained(e, res)
}

// explained is what the body of an answer says, or e.
func (r request) explained(e *fault.Error, res *http.Response) error {
	b, err := io.ReadAll(io.LimitReader(res.Body, maxError))
	if err == nil {
		if d, err := parse(b); err == nil && d.Body.Fault != nil {
			return d.Body.Fault.fault()
		}
	}
	if res.StatusCode >= http.StatusInternalServerError {
		return r.unclear(e.Err) // a gateway's word: what stands behind it may have done its work
	}
	return e
}

// diagnostics is why a token was refused, in Exchange's words.
func diagnostics(h http.Header) string {
	text := strings.Join(strings.Fields(h.Get("X-Ms-Diagnostics")), " ")
	if text == "" {
		return ""
	}
	return " (" + strings.ToValidUTF8(text[:min(len(text), 200)], "") + ")"
}

// refusal is a credential that was not taken, with what the broker wants to know about it.
type refusal struct {
	fault  *fault.Error
	server string
}

func (r *refusal) Error() string { return r.fault.Error() }

// Unwrap leads to the kind.
func (r *refusal) Unwrap() error { return r.fault }

// Refusal implements what tokenclient.Use looks for.
func (r *refusal) Refusal() tokenclient.Refusal {
	return tokenclient.Refusal{Kind: tokenclient.RefusedByHTTP, Server: r.server, Reply: r.fault.Err.Error()}
}

func hasReason(err error, reasons ...string) bool {
	var e *fault.Error
	return errors.As(err, &e) && slices.Contains(reasons, e.Reason)
}
