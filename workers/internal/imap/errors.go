package imap

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	goimap "github.com/emersion/go-imap/v2"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/inbound"
)

// reply is one row of the table: what a server says, and what it means.
type reply struct {
	text   string              // part of the text, lower case; or
	code   goimap.ResponseCode // the response code
	kind   fault.Kind
	after  time.Duration // Throttled
	reason string
	remedy string
}

// replies are asked in order; the first that fits decides. The texts are Exchange's and Gmail's own.
var replies = []reply{
	{text: "request is throttled", kind: fault.Throttled, reason: "SERVER_THROTTLED"}, // the time is in the text
	{text: "too many simultaneous connections", kind: fault.Throttled, after: 2 * time.Minute, reason: "TOO_MANY_CONNECTIONS",
		remedy: "close other programs that read this mailbox over IMAP; Gmail allows 15 connections"},
	{text: "exceeded command or bandwidth limits", kind: fault.Throttled, after: time.Hour, reason: "BANDWIDTH_LIMIT",
		remedy: "nothing needs to be done: Gmail lifts the limit within 24 hours"},
	{text: "authenticated but not connected", kind: fault.Auth, reason: "AUTHENTICATED_NOT_CONNECTED",
		remedy: "an Exchange administrator must enable IMAP for the mailbox (Set-CASMailbox -ImapEnabled $true) and grant the application or user FullAccess to it; the user name must be the mailbox's address"},
	{text: "web login required", kind: fault.Auth, reason: "WEB_LOGIN_REQUIRED", remedy: webLogin},
	{text: "log in via your web browser", kind: fault.Auth, reason: "WEB_LOGIN_REQUIRED", remedy: webLogin},
	{text: "imap access is disabled", kind: fault.Auth, reason: "IMAP_DISABLED", remedy: imapOff},
	{text: "not enabled for imap", kind: fault.Auth, reason: "IMAP_DISABLED", remedy: imapOff},
	{text: "accesstokenexpired", kind: fault.Temporary, reason: sessionOver},
	{text: "server unavailable", kind: fault.Temporary, reason: "SERVER_UNAVAILABLE"},
	{text: "server busy", kind: fault.Temporary, reason: "SERVER_BUSY"},
	{code: "UNAVAILABLE", kind: fault.Temporary, reason: "SERVER_UNAVAILABLE"},
	{code: "INUSE", kind: fault.Temporary, reason: "IN_USE"},
	{code: "LIMIT", kind: fault.Throttled, after: time.Minute, reason: "SERVER_LIMIT"},
	{code: "NONEXISTENT", kind: fault.Gone, reason: "NO_SUCH_FOLDER", remedy: "create the folder or correct folder-path"},
	{code: "TRYCREATE", kind: fault.Gone, reason: "NO_SUCH_FOLDER", remedy: "create the folder or correct the disposition"},
	{code: "OVERQUOTA", kind: fault.Temporary, reason: "OVER_QUOTA", remedy: "the mailbox's owner must make room in it"},
	{code: "AUTHENTICATIONFAILED", kind: fault.Auth, reason: "AUTHENTICATION_FAILED", remedy: refusedLogin},
	{code: "AUTHORIZATIONFAILED", kind: fault.Auth, reason: "AUTHORIZATION_FAILED", remedy: refusedLogin},
	{code: "EXPIRED", kind: fault.Auth, reason: "CREDENTIAL_EXPIRED", remedy: refusedLogin},
}

const (
	sessionOver     = "ACCESS_TOKEN_EXPIRED"
	webLogin        = "the mailbox's user must sign in once with a web browser; Google holds the account back until then"
	imapOff         = "an administrator must allow IMAP for the domain or the mailbox"
	refusedPassword = "check user and password, and that IMAP is enabled for the mailbox"
	refusedLogin    = "check that IMAP is enabled for the mailbox, that the application was granted access to it, and that its service principal was made with the object id of the enterprise application"
)

// errPreauth is a greeting that nobody should be content with: the mailbox that is open is not known to be the one that is
// to be read, and on the way to TLS it would be an attacker's (RFC 3501 section 7.1.4).
var errPreauth = &fault.Error{Kind: fault.Temporary, Reason: "PREAUTH", Remedy: "name a server, or a port of it, that asks for a login",
	Err: errors.New("greeting: the server logs everybody in without a login (PREAUTH)")}

// errNoPassword is a server that takes no password.
var errNoPassword = &fault.Error{Kind: fault.Temporary, Reason: "LOGINDISABLED",
	Remedy: "set pop-connection-security to ssl-tls or start-tls; if it is, the server wants tokens: set mail.imap.auth.mechanisms",
	Err:    errors.New("the server wants no password on this connection: LOGINDISABLED")}

// sameFolderError: messages that are moved to where they are would come again and again.
func sameFolderError(wanted string) error {
	return &fault.Error{Kind: fault.Temporary, Reason: "SAME_FOLDER", Remedy: "name another folder than the one that is read in disposition or failed-items-folder-name",
		Err: fmt.Errorf("move to %s: it is the folder that is read", wanted)}
}

// fail classifies what went wrong in an exchange; nil stays nil. An error of ctx is the caller's own.
func (s *session) fail(ctx context.Context, what string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", what, context.Cause(ctx))
	}
	var known *fault.Error
	if errors.As(err, &known) {
		return err
	}
	return classify(what, err, s.conn.bye())
}

// refused classifies a login that did not work: what nobody knows is the credential's fault if the server said no, the
// line's otherwise.
func (s *session) refused(ctx context.Context, tok tokenclient.Token, err error) error {
	classified := s.fail(ctx, "log in", err)
	var said *goimap.Error
	var e *fault.Error
	if errors.As(err, &said) && said.Type == goimap.StatusResponseTypeNo && errors.As(classified, &e) && e.Reason == "" {
		e.Kind, e.Reason, e.Remedy = fault.Auth, "AUTHENTICATION_FAILED", refusedLogin
	}
	if e != nil && e.Remedy == refusedLogin && tok.IsPassword() {
		e.Remedy = refusedPassword
	}
	return classified
}

// classify is the one place where replies become kinds. bye is what the server said before it hung up, or empty.
func classify(what string, err error, bye string) error {
	e := &fault.Error{Kind: fault.Temporary, Err: fmt.Errorf("%s: %w", what, err)}
	var text string
	var code goimap.ResponseCode
	var said *goimap.Error
	switch {
	case errors.As(err, &said):
		code, text = said.Code, said.Text
	case bye != "":
		code, text = responseCode(bye)
		e.Err = fmt.Errorf("%s: the server ended the session: %s", what, printable(bye))
	}
	if i := slices.IndexFunc(replies, func(r reply) bool { return r.fits(text, code) }); i >= 0 {
		r := replies[i]
		e.Kind, e.After, e.Reason, e.Remedy = r.kind, r.after, r.reason, r.remedy
	}
	switch {
	case e.Reason == sessionOver:
		e.Err = fmt.Errorf("%w: %w", e.Err, inbound.ErrSessionOver)
	case e.Kind == fault.Throttled:
		e.After = cmp.Or(fault.Suggested(text), e.After, time.Minute)
	}
	return e
}

// responseCode parts "[CODE arguments] text" (RFC 3501 section 7.1).
func responseCode(line string) (goimap.ResponseCode, string) {
	inner, ok := strings.CutPrefix(line, "[")
	if !ok {
		return "", line
	}
	code, text, ok := strings.Cut(inner, "]")
	if !ok {
		return "", line
	}
	code, _, _ = strings.Cut(code, " ")
	return goimap.ResponseCode(code), strings.TrimSpace(text)
}

func (r reply) fits(text string, code goimap.ResponseCode) bool {
	if r.text != "" {
		return strings.Contains(strings.ToLower(text), r.text)
	}
	return strings.EqualFold(string(r.code), string(code))
}

// printable makes one short line of what a server said.
func printable(s string) string {
	if len(s) > 256 {
		s = s[:256]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}
