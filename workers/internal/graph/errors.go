package graph

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/web"
)

// reply is one row of the table: what Graph answers, and what it means.
type reply struct {
	status int    // 0 = any
	code   string // in lower case; empty = any
	kind   fault.Kind
	after  time.Duration // Throttled, if the answer does not say
	reason string
	remedy string
}

// Reasons that are asked for here.
const (
	noSuchFolder = "NO_SUCH_FOLDER"
	folderExists = "FOLDER_EXISTS"
	noDelta      = "NO_DELTA"
	sendAsDenied = "SEND_AS_DENIED"
	tooLarge     = "TOO_LARGE"
)

const (
	grant   = "an administrator must grant the application Mail.ReadWrite for this mailbox (role assignment with a scope, or consent in Entra); a change may take an hour"
	address = "correct the mailbox's user option: Graph wants the user principal name or the object id, which may differ from the address"
	licence = "an administrator must give the mailbox a licence, or the mailbox is on premises, where Graph cannot reach it"
	spam    = "an administrator must release the account, which Exchange blocked for sending spam"
	sendAs  = "an administrator must grant SendAs for that address, or write the mailbox's own address in From"
	daily   = "wait for the 24 hour window to move, or spread the mail over more mailboxes"
	smaller = "send less, or raise the tenant's limit"
	mend    = "mend the message: Exchange cannot read it"
)

// replies are asked in order; the first that fits decides. Graph uses the codes of EWS without regard to case.
var replies = []reply{
	{code: "syncstatenotfound", kind: fault.CursorLost}, {code: "resyncrequired", kind: fault.CursorLost}, {status: 410, kind: fault.CursorLost},
	{status: 401, kind: fault.Auth, reason: "TOKEN_REFUSED"},
	{code: "errorfolderexists", reason: folderExists}, {code: "namealreadyexists", reason: folderExists},
	{code: "errorsendasdenied", kind: fault.Permanent, reason: sendAsDenied, remedy: sendAs},
	{code: "errorinvalidrecipients", kind: fault.Permanent, reason: "RECIPIENTS_INVALID", remedy: "correct the addresses: Exchange takes a message for everyone or for nobody"},
	{code: "errormimecontentinvalid", kind: fault.Permanent, reason: "CONTENT_INVALID", remedy: mend},
	{code: "errormimecontentinvalidbase64string", kind: fault.Permanent, reason: "CONTENT_INVALID", remedy: mend},
	{code: "errorexceededmessagelimit", kind: fault.Throttled, after: time.Hour, reason: "DAILY_LIMIT", remedy: daily},
	{code: "errorexceededmaxrecipientlimit", kind: fault.Throttled, after: time.Hour, reason: "DAILY_LIMIT", remedy: daily},
	{code: "errorsubmissionquotaexceeded", kind: fault.Throttled, after: time.Hour, reason: "DAILY_LIMIT", remedy: daily},
	{code: "errormessagesubmissionblocked", reason: "ACCOUNT_BLOCKED", remedy: spam},
	{status: 403, code: "erroraccountsuspend", reason: "ACCOUNT_BLOCKED", remedy: spam},
	{status: 403, code: "errorquotaexceeded", reason: "OVER_QUOTA", remedy: "the mailbox's owner must make room in it"},
	{status: 403, reason: "ACCESS_DENIED", remedy: grant},
	{code: "erroritemnotfound", kind: fault.Gone}, {code: "itemnotfound", kind: fault.Gone},
	{code: "errorfoldernotfound", kind: fault.Gone, reason: noSuchFolder, remedy: "create the folder or correct folder-path"},
	{code: "mailboxnotenabledforrestapi", reason: "NO_MAILBOX", remedy: licence}, {code: "errormailboxnotenabledforrestapi", reason: "NO_MAILBOX", remedy: licence},
	{code: "errornonexistentmailbox", reason: "NO_MAILBOX", remedy: licence}, {code: "extensionerror", reason: "NO_MAILBOX", remedy: licence},
	{status: 404, code: "resourcenotfound", reason: "NO_SUCH_USER", remedy: address}, {status: 404, code: "request_resourcenotfound", reason: "NO_SUCH_USER", remedy: address},
	{status: 404, code: "errorinvaliduser", reason: "NO_SUCH_USER", remedy: address},
	{code: "errorinvalididmalformed", kind: fault.Gone}, // an id of another mailbox, or of before an import
	{code: "errorcontentconversionfailed", kind: fault.Permanent, reason: "UNRENDERABLE"},
	{code: "errormimecontentconversionfailed", kind: fault.Permanent, reason: "UNRENDERABLE"},
	{code: "errormessagesizeexceeded", kind: fault.Permanent, reason: tooLarge, remedy: smaller},
	{status: 413, kind: fault.Permanent, reason: tooLarge, remedy: smaller},
	{status: 429, kind: fault.Throttled, after: 10 * time.Second, reason: "SERVER_THROTTLED"},
	{status: 509, kind: fault.Throttled, after: time.Minute, reason: "SERVER_THROTTLED"},
	{code: "errorserverbusy", kind: fault.Throttled, after: 10 * time.Second, reason: "SERVER_BUSY"},
	{code: "errormailboxmoveinprogress", kind: fault.Throttled, after: 5 * time.Minute, reason: "MAILBOX_MOVES"},
	{status: 503, kind: fault.Throttled, after: 10 * time.Second, reason: "SERVER_UNAVAILABLE"},
	{status: 501, reason: "NOT_IN_THIS_CLOUD", remedy: "read this mailbox over IMAP or EWS: this national cloud's Graph lacks the function"},
}

func (r reply) fits(status int, codes []string) bool {
	return (r.status == 0 || r.status == status) && (r.code == "" || slices.Contains(codes, r.code))
}

// maxError bounds what is read of an error, in bytes; gateways answer with pages of HTML.
const maxError = 64 << 10

// graphError is the body of an error. Services nest a second code in innerError.
type graphError struct {
	Code       string
	Message    string
	InnerError struct {
		Code      string
		RequestID string `json:"request-id"`
	}
}

// refused classifies an answer that is no success.
func (c *client) refused(res *http.Response, body io.Reader) error {
	var said struct{ Error graphError }
	if b, err := io.ReadAll(io.LimitReader(body, maxError)); err == nil {
		_ = json.Unmarshal(b, &said) // HTML or nothing: the status has to do
	}
	e := &fault.Error{Kind: fault.Temporary, Err: describe(res, said.Error)}
	codes := []string{strings.ToLower(said.Error.Code), strings.ToLower(said.Error.InnerError.Code)}
	if i := slices.IndexFunc(replies, func(r reply) bool { return r.fits(res.StatusCode, codes) }); i >= 0 {
		e.Kind, e.Reason, e.Remedy, e.After = replies[i].kind, replies[i].reason, replies[i].remedy, replies[i].after
	}
	if res.StatusCode == http.StatusBadRequest && strings.Contains(said.Error.Message, "segment 'delta'") {
		e.Reason = noDelta // the cloud in China has no delta rounds of messages, and says so like this
	}
	if after := web.RetryAfter(res.Header.Get("Retry-After"), time.Now()); after > 0 {
		e.Kind, e.After = fault.Throttled, after
	}
	if e.Kind == fault.Auth {
		return &refusal{e, c.config.host(), claims(res.Header)}
	}
	return e
}

// judged is an answer's meaning for what sends mail: a gateway that gave up says nothing about what it gave up on.
func (r request) judged(status int, err error) error {
	var e *fault.Error
	if r.final && errors.As(err, &e) && (status == http.StatusInternalServerError || status == http.StatusBadGateway || status == http.StatusGatewayTimeout) {
		e.Kind = fault.InDoubt
	}
	return err
}

// describe tells what was answered: the message names no correspondents, but it is bounded all the same.
func describe(res *http.Response, said graphError) error {
	text := fmt.Sprintf("the server answered %d", res.StatusCode)
	for _, part := range []string{said.Code, said.Message} {
		if part = strings.Join(strings.Fields(part), " "); part != "" {
			text += " " + strings.ToValidUTF8(part[:min(len(part), 200)], "")
		}
	}
	if id := cmp.Or(res.Header.Get("request-id"), said.InnerError.RequestID); id != "" {
		text += " (request " + strings.ToValidUTF8(id[:min(len(id), 40)], "") + ")"
	}
	return fmt.Errorf("%s", text)
}

// refusal is a token that was not taken, with what the broker wants to know about it.
type refusal struct {
	fault  *fault.Error
	server string
	claims string // of a challenge; empty = none
}

func (r *refusal) Error() string { return r.fault.Error() }

// Unwrap leads to the kind.
func (r *refusal) Unwrap() error { return r.fault }

// Refusal implements what tokenclient.Use looks for.
func (r *refusal) Refusal() tokenclient.Refusal {
	kind := tokenclient.RefusedByHTTP
	if r.claims != "" {
		kind = tokenclient.RefusedByClaims
	}
	return tokenclient.Refusal{Kind: kind, Server: r.server, Reply: r.fault.Err.Error()}
}

var claimsParameter = regexp.MustCompile(`claims="([^"]{1,1000})"`)

// claims are those of a challenge: the token was revoked, and one that meets them is wanted.
func claims(h http.Header) string {
	m := claimsParameter.FindStringSubmatch(h.Get("WWW-Authenticate"))
	if m == nil {
		return ""
	}
	b, err := base64.StdEncoding.DecodeString(m[1])
	if err != nil || !json.Valid(b) {
		return ""
	}
	return string(b)
}
