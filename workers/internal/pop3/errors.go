package pop3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/inbound"
)

// meaning is one row of the table: what a server says, and what it means.
type meaning struct {
	text   string         // part of the text, lower case; or
	form   *regexp.Regexp // what the text has in it, for what servers word as they like; or
	code   string         // the response code, or its first part
	kind   fault.Kind
	after  time.Duration // Throttled
	reason string
	remedy string
}

// meanings are asked in order; the first that fits decides. The texts are Exchange's, Outlook's and Gmail's own.
var meanings = []meaning{
	{text: "request is throttled", kind: fault.Throttled, reason: "SERVER_THROTTLED"}, // the time is in the text
	{text: "exceeded the login limit", kind: fault.Throttled, after: 15 * time.Minute, reason: "LOGIN_LIMIT",
		remedy: "raise cycle-time: the server counts logins"},
	{text: "too many simultaneous connections", kind: fault.Throttled, after: 2 * time.Minute, reason: "TOO_MANY_CONNECTIONS",
		remedy: "close other programs that read this mailbox over POP3"},
	{text: "too many login", kind: fault.Throttled, after: 15 * time.Minute, reason: "LOGIN_LIMIT", remedy: "raise cycle-time: the server counts logins"},
	{text: "exceeded command or bandwidth limits", kind: fault.Throttled, after: time.Hour, reason: "BANDWIDTH_LIMIT",
		remedy: "nothing needs to be done: Gmail lifts the limit within 24 hours"},
	{text: "lockdown in sector", kind: fault.Throttled, after: time.Hour, reason: "BANDWIDTH_LIMIT",
		remedy: "nothing needs to be done: Gmail lifts the limit within 24 hours"},
	{text: "web login required", kind: fault.Auth, reason: "WEB_LOGIN_REQUIRED", remedy: webLogin},
	{text: "log in via your web browser", kind: fault.Auth, reason: "WEB_LOGIN_REQUIRED", remedy: webLogin},
	{text: "application-specific password required", kind: fault.Auth, reason: "PASSWORD_REFUSED",
		remedy: "Google takes no account password here: use mail.pop3.auth.mechanisms XOAUTH2, or an app password"},
	{text: "basic authentication is disabled", kind: fault.Auth, reason: "PASSWORD_REFUSED", remedy: "use mail.pop3.auth.mechanisms XOAUTH2"},
	{text: "authenticated but not connected", kind: fault.Auth, reason: "AUTHENTICATED_NOT_CONNECTED", remedy: refusedLogin},
	{text: "not enabled for pop", kind: fault.Auth, reason: "POP3_DISABLED", remedy: popOff},
	{text: "pop access is disabled", kind: fault.Auth, reason: "POP3_DISABLED", remedy: popOff},
	{text: "pop is disabled", kind: fault.Auth, reason: "POP3_DISABLED", remedy: popOff},
	// Exchange says this to a bad token, to one without access to the mailbox, and where POP3 is off for it.
	{text: "unknown user name or bad password", kind: fault.Auth, reason: "AUTHENTICATION_FAILED", remedy: refusedLogin},
	{text: "accesstokenexpired", kind: fault.Temporary, reason: sessionOver},
	{text: "server unavailable", kind: fault.Temporary, reason: "SERVER_UNAVAILABLE"},
	{text: "server busy", kind: fault.Temporary, reason: "SERVER_BUSY"},
	{form: inUse, kind: fault.Temporary, reason: "IN_USE", remedy: otherSession},
	{code: "IN-USE", kind: fault.Temporary, reason: "IN_USE", remedy: otherSession},
	{code: "LOGIN-DELAY", kind: fault.Throttled, reason: "LOGIN_DELAY", remedy: "raise cycle-time: the server wants to be asked less often"},
	{code: "AUTH", kind: fault.Auth, reason: "AUTHENTICATION_FAILED", remedy: refusedLogin},
	{code: "EXPIRED", kind: fault.Auth, reason: "CREDENTIAL_EXPIRED", remedy: refusedLogin},
	{code: "SYS/TEMP", kind: fault.Temporary, reason: "SERVER_UNAVAILABLE"},
	{code: "SYS/PERM", kind: fault.Permanent, reason: "SERVER_FAILURE", remedy: "the mail server's administrator must look: it says that this will not pass by itself"},
}

// inUse is what servers without response codes say to PASS while another session has the mailbox. RFC 1939 section 4 has "unable to
// lock maildrop", its examples "maildrop already locked"; taken for a wrong password it would cost the credential.
var inUse = regexp.MustCompile(`(?i)(maildrop|mailbox|mail spool)( is)?( already)? (locked|in use|busy)|lock (the |your )?(maildrop|mailbox)|lock on (the |your )?mailbox|` +
	`lock busy|another (pop3? )?session|session (is )?(already )?(active|in progress)`)

const (
	otherSession    = "close other programs that read this mailbox over POP3; after a broken session the server may hold it for some minutes"
	sessionOver     = "ACCESS_TOKEN_EXPIRED"
	webLogin        = "the mailbox's user must sign in once with a web browser; Google holds the account back until then"
	popOff          = "POP must be enabled in the account's settings, and by an administrator for its domain"
	refusedPassword = "check user and password, and that POP3 is enabled for the mailbox"
	refusedLogin    = "check that POP3 is enabled for the mailbox (Set-CASMailbox -PopEnabled $true), that the application was granted FullAccess to it, and that its service principal was made with the object id of the enterprise application"
	twoLines        = "the server may want the token on a line of its own: set mail.pop3.auth.xoauth2.two.line.authentication.format: true"
	noUIDL          = "mail of a server without UIDL cannot be told apart between two sessions: fetch it by IMAP, or enable UIDL there"
)

// fail classifies what went wrong in an exchange; nil stays nil. An error of ctx is the caller's own. What is no -ERR leaves a
// connection of which nothing is known any more.
func (s *session) fail(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	var no *refused
	if !errors.As(err, &no) {
		s.abort()
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, context.Cause(ctx))
	}
	var known *fault.Error
	if errors.As(err, &known) {
		return err
	}
	return s.classify(what, err)
}

// classify is the one place where replies become kinds.
func (s *session) classify(what string, err error) error {
	e := &fault.Error{Kind: fault.Temporary, Err: fmt.Errorf("%s: %w", what, err)}
	var no *refused
	if !errors.As(err, &no) {
		return e
	}
	if i := slices.IndexFunc(meanings, no.means); i >= 0 {
		m := meanings[i]
		e.Kind, e.After, e.Reason, e.Remedy = m.kind, m.after, m.reason, m.remedy
	}
	switch {
	case e.Reason == sessionOver:
		e.Err = fmt.Errorf("%w: %w", e.Err, inbound.ErrSessionOver)
	case e.Reason == "LOGIN_DELAY":
		e.After = cmp.Or(s.caps.loginDelay(), time.Minute)
	case e.Kind == fault.Throttled:
		e.After = cmp.Or(fault.Suggested(no.text), e.After, time.Minute)
	}
	return e
}

// means says whether a row of the table is about this refusal. RFC 3206 section 4: a code may grow parts behind a slash.
func (r *refused) means(m meaning) bool {
	switch {
	case m.text != "":
		return strings.Contains(strings.ToLower(r.text), m.text)
	case m.form != nil:
		return m.form.MatchString(r.text)
	}
	return r.code == m.code || strings.HasPrefix(r.code, m.code+"/")
}

// known says whether the table has a row for a refusal.
func known(no *refused) bool { return slices.ContainsFunc(meanings, no.means) }

// deny makes a login that did not work say so: what nobody knows is the credential's fault if the server said no, the line's
// otherwise. classified is err after fail.
func (s *session) deny(tok tokenclient.Token, classified, err error) error {
	var e *fault.Error
	var no *refused
	if !errors.As(classified, &e) || !errors.As(err, &no) {
		return classified
	}
	var login *loginError
	oneLine := errors.As(err, &login) && login.oneLine
	switch {
	case e.Reason != "":
	case oneLine && malformed.MatchString(no.text):
		e.Reason, e.Remedy = "AUTH_FORMAT_REFUSED", twoLines // another token would not help
	case oneLine:
		e.Kind, e.Reason, e.Remedy = fault.Auth, "AUTHENTICATION_FAILED", refusedLogin+"; "+twoLines
	default:
		e.Kind, e.Reason, e.Remedy = fault.Auth, "AUTHENTICATION_FAILED", refusedLogin
	}
	if e.Remedy == refusedLogin && tok.IsPassword() {
		e.Remedy = refusedPassword
	}
	return &refusal{e, s.server, err.Error()}
}

// malformed is what servers say to a command that they cannot read. Exchange: "Protocol error. Connection is closed. 10".
var malformed = regexp.MustCompile(`(?i)protocol error|syntax|too long|(invalid|unknown|bad|unrecogni[sz]ed) command`)

// refusal is a credential that was not taken, with what the broker wants to know about it.
type refusal struct {
	fault  *fault.Error
	server string // host:port
	said   string
}

func (r *refusal) Error() string { return r.fault.Error() }

// Unwrap leads to the kind.
func (r *refusal) Unwrap() error { return r.fault }

// Refusal implements what tokenclient.Use looks for.
func (r *refusal) Refusal() tokenclient.Refusal {
	return tokenclient.Refusal{Kind: tokenclient.RefusedBySASL, Server: r.server, Reply: r.said}
}

// errNameless is a message that would be another one in the next session.
var errNameless = &fault.Error{Kind: fault.Permanent, Reason: "UIDL_MISSING", Remedy: noUIDL, Err: errors.New("the server gives the message no UIDL")}

// withoutUIDL explains a refused UIDL on a server that does not list it.
func (s *session) withoutUIDL(err error) error {
	var no *refused
	if !errors.As(err, &no) || known(no) || s.caps.has("UIDL") {
		return err
	}
	return &fault.Error{Kind: fault.Permanent, Reason: "UIDL_MISSING", Remedy: noUIDL, Err: fmt.Errorf("UIDL: %w", err)}
}
