package smtp

import (
	"errors"
	"strings"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/esmtp"
	"mailporter/workers/internal/fault"
)

// step is where in the conversation a reply came.
type step int

const (
	atOpen      step = iota // greeting, EHLO, STARTTLS
	atLogin                 // AUTH
	atMail                  // MAIL
	atRecipient             // RCPT: about one recipient
	atData                  // DATA before the message
	atMessage               // after the final dot
)

// enhanced is a status code of RFC 3463: 5.7.139.
type enhanced = [3]int

// rule is one line of the table: what a reply means. A rule holds if all that it names is there.
type rule struct {
	code   int      // 0 = any
	from   enhanced // code of RFC 3463; zero = any, also none
	to     enhanced // last one of a range, which differs in its last number only; zero = from
	text   string   // part of the text in lower case; empty = any
	kind   fault.Kind
	after  time.Duration
	reason string
	remedy string
}

// admin begins the remedies that only an administrator can bring about.
const admin = "an administrator must "

// restricted is for recipients who take mail from some senders only.
const restricted = "the recipient's administrator must allow the sender: the address takes mail from its own organisation, or from some senders only"

// rules are asked in their order: the enhanced code says most, the text decides where one code says many things. They
// are the replies of Exchange Online and Gmail; what no rule knows goes by its first digit.
var rules = []rule{
	// Login.
	{code: 535, from: enhanced{5, 7, 139}, text: "smtpclientauthentication is disabled", kind: fault.Auth, reason: "SMTP_AUTH_DISABLED", remedy: admin + "allow authenticated SMTP for the mailbox (Set-CASMailbox -SmtpClientAuthenticationDisabled $false) or the tenant"},
	{code: 535, from: enhanced{5, 7, 139}, text: "basic authentication is disabled", kind: fault.Auth, reason: "BASIC_AUTH_DISABLED", remedy: "use OAuth for this mailbox: give it an application or a grant"},
	{code: 535, from: enhanced{5, 7, 139}, text: "user credentials were incorrect", kind: fault.Auth, reason: "PASSWORD_REFUSED", remedy: "correct the mailbox's password, or use OAuth for this mailbox; the provider counts wrong ones and locks the account"},
	{code: 535, from: enhanced{5, 7, 139}, text: "account is locked", kind: fault.Auth, reason: "ACCOUNT_LOCKED", remedy: admin + "unlock the account"},
	{code: 535, from: enhanced{5, 7, 139}, text: "did not meet the criteria", kind: fault.Auth, reason: "CONDITIONAL_ACCESS", remedy: admin + "exclude this sign-in from the Conditional Access policy that blocks it"},
	{code: 535, from: enhanced{5, 7, 139}, text: "user or tenant not allowed", kind: fault.Auth, reason: "SIGN_IN_NOT_ALLOWED", remedy: admin + "allow the account to sign in"},
	{code: 535, from: enhanced{5, 7, 139}, text: "federated sts", kind: fault.Auth, reason: "FEDERATION_UNREACHABLE", remedy: admin + "mend the federation server's sign-in"},
	{code: 535, from: enhanced{5, 7, 139}, kind: fault.Auth, reason: "SIGN_IN_REFUSED", remedy: admin + "look at the sign-in log of the account"},
	{code: 535, from: enhanced{5, 7, 3}, kind: fault.Auth},
	{code: 535, from: enhanced{5, 7, 8}, kind: fault.Auth},
	{code: 534, from: enhanced{5, 7, 9}, kind: fault.Auth, reason: "SIGN_IN_NEEDED", remedy: "the mailbox's user must sign in in a browser, or make an application password"},
	{from: enhanced{5, 7, 30}, kind: fault.Auth, reason: "BASIC_AUTH_RETIRED", remedy: "use OAuth for this mailbox"},
	{code: 530, from: enhanced{5, 7, 0}, kind: fault.Auth, reason: "NOT_AUTHENTICATED", remedy: "set mail.smtp.auth.mechanisms and start-tls: the server wants both"},
	{code: 530, kind: fault.Auth, reason: "NOT_AUTHENTICATED", remedy: "set a password or mail.smtp.auth.mechanisms: the server wants a login"}, // RFC 4954 section 6, with whatever code of RFC 3463
	{code: 454, from: enhanced{4, 7, 0}, text: "tls not available", kind: fault.Temporary, reason: "TLS_NOT_AVAILABLE"},                         // RFC 3207 section 4
	{code: 454, from: enhanced{4, 7, 0}, kind: fault.Throttled, after: 5 * time.Minute, reason: "LOGIN_RATE"},
	// Too much, too fast.
	{code: 432, from: enhanced{4, 3, 2}, kind: fault.Throttled, after: 5 * time.Second, reason: "TOO_MANY_CONNECTIONS", remedy: "lower the pool size if other programs send from this mailbox too"},
	{from: enhanced{4, 7, 500}, to: enhanced{4, 7, 699}, kind: fault.Throttled, after: 15 * time.Minute, reason: "TRAFFIC_UNDER_SUSPICION", remedy: admin + "look why the provider mistrusts this address or tenant"},
	{from: enhanced{4, 7, 850}, to: enhanced{4, 7, 899}, kind: fault.Throttled, after: 15 * time.Minute, reason: "TRAFFIC_UNDER_SUSPICION", remedy: admin + "look why the provider mistrusts this address or tenant"},
	{code: 421, from: enhanced{4, 7, 0}, text: "too many simultaneous connections", kind: fault.Throttled, after: 30 * time.Second, reason: "TOO_MANY_CONNECTIONS", remedy: "lower the pool size if other programs send from this mailbox too"},
	{code: 421, from: enhanced{4, 7, 28}, kind: fault.Throttled, after: time.Hour, reason: "UNUSUAL_RATE", remedy: "send less, or let the provider know"},
	{code: 421, from: enhanced{4, 7, 0}, text: "unusual rate", kind: fault.Throttled, after: time.Hour, reason: "UNUSUAL_RATE", remedy: "send less, or let the provider know"},
	{code: 450, from: enhanced{4, 2, 1}, kind: fault.Throttled, after: 15 * time.Minute, reason: "RECIPIENT_RATE"},
	{from: enhanced{5, 1, 90}, kind: fault.Throttled, after: time.Hour, reason: "DAILY_RECIPIENTS", remedy: "wait for the 24 hour window to move, or spread the mail over more mailboxes"},
	{from: enhanced{5, 2, 0}, text: "submissionquotaexceeded", kind: fault.Throttled, after: time.Hour, reason: "DAILY_RECIPIENTS", remedy: "wait for the 24 hour window to move, or spread the mail over more mailboxes"},
	{from: enhanced{5, 2, 2}, text: "submission quota exceeded", kind: fault.Throttled, after: time.Hour, reason: "DAILY_RECIPIENTS", remedy: "wait for the 24 hour window to move, or spread the mail over more mailboxes"},
	{from: enhanced{5, 4, 5}, kind: fault.Throttled, after: 24 * time.Hour, reason: "DAILY_LIMIT", remedy: "wait a day, or spread the mail over more mailboxes"},
	{from: enhanced{5, 2, 121}, to: enhanced{5, 2, 122}, kind: fault.Throttled, after: time.Hour, reason: "RECIPIENT_RATE"},
	{from: enhanced{5, 7, 232}, to: enhanced{5, 7, 233}, kind: fault.Throttled, after: 24 * time.Hour, reason: "TENANT_RECIPIENTS", remedy: "wait a day, or buy licences that allow more external recipients"},
	// The sender's mailbox or tenant: nothing more can be sent before somebody acts. (552 5.2.2 is a recipient's mailbox.)
	{code: 554, from: enhanced{5, 2, 2}, text: "mailbox full", kind: fault.Auth, reason: "SENDER_MAILBOX_FULL", remedy: "make room in the sending mailbox: the provider keeps a copy in Sent Items"},
	{code: 554, from: enhanced{5, 2, 2}, text: "quotaexceeded", kind: fault.Auth, reason: "SENDER_MAILBOX_FULL", remedy: "make room in the sending mailbox: the provider keeps a copy in Sent Items"},
	{from: enhanced{5, 1, 8}, text: "bad outbound sender", kind: fault.Auth, reason: "SENDER_BLOCKED", remedy: admin + "unblock the sender (Restricted entities) once the cause is found"},
	{from: enhanced{5, 7, 501}, to: enhanced{5, 7, 503}, kind: fault.Auth, reason: "SENDER_BLOCKED", remedy: admin + "unblock the sender (Restricted entities) once the cause is found"},
	{from: enhanced{5, 7, 511}, kind: fault.Auth, reason: "SENDER_BLOCKED", remedy: admin + "ask the provider to unblock the sending address"},
	{from: enhanced{5, 7, 800}, kind: fault.Auth, reason: "SENDER_BLOCKED", remedy: admin + "unblock the sender once the cause is found"},
	{from: enhanced{5, 7, 705}, kind: fault.Auth, reason: "TENANT_BLOCKED", remedy: admin + "ask the provider to lift the tenant's limit"},
	{from: enhanced{5, 7, 708}, kind: fault.Auth, reason: "TENANT_BLOCKED", remedy: admin + "ask the provider to lift the tenant's limit"},
	{from: enhanced{5, 7, 750}, kind: fault.Auth, reason: "DOMAIN_NOT_REGISTERED", remedy: admin + "register the sender's domain with the tenant"},
	// This recipient.
	{from: enhanced{5, 7, 12}, kind: fault.Permanent, reason: "RECIPIENT_RESTRICTED", remedy: restricted},
	{from: enhanced{5, 7, 124}, kind: fault.Permanent, reason: "RECIPIENT_RESTRICTED", remedy: restricted},
	{from: enhanced{5, 7, 133}, to: enhanced{5, 7, 136}, kind: fault.Permanent, reason: "RECIPIENT_RESTRICTED", remedy: restricted},
	// This message.
	{from: enhanced{5, 7, 60}, kind: fault.Permanent, reason: "SEND_AS_DENIED", remedy: admin + "grant SendAs, or send with the mailbox's own address in MAIL FROM and From"},
	{from: enhanced{5, 2, 252}, kind: fault.Permanent, reason: "SEND_AS_DENIED", remedy: admin + "grant SendAs, or send with the mailbox's own address in MAIL FROM and From"},
	{from: enhanced{5, 7, 26}, kind: fault.Permanent, reason: "SENDER_NOT_AUTHENTICATED", remedy: admin + "publish SPF, DKIM and DMARC records that cover this server"},
	{from: enhanced{5, 7, 509}, kind: fault.Permanent, reason: "SENDER_NOT_AUTHENTICATED", remedy: admin + "publish SPF, DKIM and DMARC records that cover this server"},
	{from: enhanced{5, 7, 23}, kind: fault.Permanent, reason: "SENDER_NOT_AUTHENTICATED", remedy: admin + "publish an SPF record that covers this server"},
	{from: enhanced{5, 6, 0}, kind: fault.Permanent, reason: "CONTENT_INVALID", remedy: "mend the message: lines must end with CRLF"},
	{from: enhanced{5, 6, 11}, kind: fault.Permanent, reason: "CONTENT_INVALID", remedy: "mend the message: lines must end with CRLF"},
	{from: enhanced{5, 3, 4}, kind: fault.Permanent, reason: "MESSAGE_TOO_LARGE", remedy: "send less, or raise the limit on the server"},
	{from: enhanced{5, 2, 3}, kind: fault.Permanent, reason: "MESSAGE_TOO_LARGE", remedy: "send less, or raise the limit on the server"},
	// See byDigit for 552 from old servers.
	{from: enhanced{4, 5, 3}, kind: fault.Temporary, reason: tooManyRecipients},
	{from: enhanced{5, 5, 3}, text: "too many recipients", kind: fault.Temporary, reason: tooManyRecipients},
	{code: 452, text: "too many recipients", kind: fault.Temporary, reason: tooManyRecipients}, // Exim, Courier
	{code: 552, text: "too many recipients", kind: fault.Temporary, reason: tooManyRecipients},
}

func (r rule) holds(reply esmtp.Reply, text string) bool {
	last := max(r.from[2], r.to[2])
	e := reply.Enhanced
	within := e[0] == r.from[0] && e[1] == r.from[1] && r.from[2] <= e[2] && e[2] <= last
	return (r.code == 0 || r.code == reply.Code) && (r.from == enhanced{} || within) && strings.Contains(text, r.text)
}

// classify says what to do about a reply that is no yes.
func classify(r esmtp.Reply, at step) error {
	e := &fault.Error{Kind: byDigit(r, at), Err: r}
	text := strings.ToLower(r.Text())
	for _, rule := range rules {
		if rule.holds(r, text) {
			e.Kind, e.After, e.Reason, e.Remedy = rule.kind, rule.after, rule.reason, rule.remedy
			break
		}
	}
	if at == atLogin && e.Kind == fault.Auth && e.Reason != "" {
		return otherTokenUseless{e}
	}
	return e
}

// byDigit is for replies that no rule knows.
func byDigit(r esmtp.Reply, at step) fault.Kind {
	switch {
	case r.Code/100 != 5:
		return fault.Temporary // also 2xx and 3xx where they make no sense
	case r.Code == 535 || r.Code == 534 || r.Code == 538:
		return fault.Auth // RFC 4954 section 6; some servers let everybody in and say so to MAIL or RCPT
	case r.Code == 503:
		return fault.Temporary // the server lost the thread, or we did: the message is not to die for it
	case at == atOpen || at == atLogin:
		return fault.Temporary // about the server, not about the message: the message is not to die for it
	case at == atRecipient && r.Code == 552 && r.Enhanced == enhanced{}:
		return fault.Temporary // RFC 5321 section 4.5.3.1.10: from old servers it means 452, too many recipients
	}
	return fault.Permanent
}

// otherTokenUseless is a refused login that another token would not mend.
type otherTokenUseless struct{ fault *fault.Error }

// Error implements error.
func (e otherTokenUseless) Error() string { return e.fault.Error() }

// Unwrap shows the fault itself.
func (e otherTokenUseless) Unwrap() error { return e.fault }

// TokenRefused tells tokenclient.Use not to ask for another.
func (otherTokenUseless) TokenRefused() bool { return false }

// lost is an error of the connection: temporary, unless it is known better already.
func lost(err error) error {
	var known *fault.Error
	var broker *tokenclient.Error
	if err == nil || errors.As(err, &known) || errors.As(err, &broker) {
		return err
	}
	return fault.New(fault.Temporary, err)
}
