package smtp

import (
	"errors"
	"strings"
	"time"

	"mailporter/kit/tokenclient"
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

// rule is one line of the table: what a reply means. A rule holds if all that it names is there.
type rule struct {
	code     int    // 0 = any
	from, to [3]int // enhanced codes, both included; zero = any
	text     string // part of the text in lower case; empty = any
	kind     fault.Kind
	after    time.Duration
	reason   string
	remedy   string
}

func one(a, b, c int) (from, to [3]int) { return [3]int{a, b, c}, [3]int{a, b, c} }

// rules are asked in their order: the enhanced code says most, the text decides where one code says many things. They
// are the replies of Exchange Online and Gmail; what no rule knows goes by its first digit.
var rules = makeRules()

func makeRules() []rule {
	var all []rule
	add := func(code int, from, to [3]int, text string, kind fault.Kind, after time.Duration, reason, remedy string) {
		all = append(all, rule{code, from, to, text, kind, after, reason, remedy})
	}
	exact := func(code, a, b, c int, text string, kind fault.Kind, after time.Duration, reason, remedy string) {
		from, to := one(a, b, c)
		add(code, from, to, text, kind, after, reason, remedy)
	}
	const admin = "an administrator must "
	day, hour, quarter := 24*time.Hour, time.Hour, 15*time.Minute

	// Login.
	exact(535, 5, 7, 139, "smtpclientauthentication is disabled", fault.Auth, 0, "SMTP_AUTH_DISABLED", admin+"allow authenticated SMTP for the mailbox (Set-CASMailbox -SmtpClientAuthenticationDisabled $false) or the tenant")
	exact(535, 5, 7, 139, "basic authentication is disabled", fault.Auth, 0, "BASIC_AUTH_DISABLED", "use OAuth for this mailbox: give it an application or a grant")
	exact(535, 5, 7, 139, "account is locked", fault.Auth, 0, "ACCOUNT_LOCKED", admin+"unlock the account")
	exact(535, 5, 7, 139, "did not meet the criteria", fault.Auth, 0, "CONDITIONAL_ACCESS", admin+"exclude this sign-in from the Conditional Access policy that blocks it")
	exact(535, 5, 7, 139, "user or tenant not allowed", fault.Auth, 0, "SIGN_IN_NOT_ALLOWED", admin+"allow the account to sign in")
	exact(535, 5, 7, 139, "federated sts", fault.Auth, 0, "FEDERATION_UNREACHABLE", admin+"mend the federation server's sign-in")
	exact(535, 5, 7, 139, "", fault.Auth, 0, "SIGN_IN_REFUSED", admin+"look at the sign-in log of the account")
	exact(535, 5, 7, 3, "", fault.Auth, 0, "", "")
	exact(535, 5, 7, 8, "", fault.Auth, 0, "", "")
	exact(534, 5, 7, 9, "", fault.Auth, 0, "SIGN_IN_NEEDED", "the mailbox's user must sign in in a browser, or make an application password")
	exact(0, 5, 7, 30, "", fault.Auth, 0, "BASIC_AUTH_RETIRED", "use OAuth for this mailbox")
	exact(530, 5, 7, 57, "", fault.Auth, 0, "NOT_AUTHENTICATED", "set mail.smtp.auth.mechanisms: the server wants a login")
	exact(530, 5, 7, 0, "", fault.Auth, 0, "NOT_AUTHENTICATED", "set mail.smtp.auth.mechanisms and start-tls: the server wants both")
	exact(454, 4, 7, 0, "", fault.Throttled, 5*time.Minute, "LOGIN_RATE", "")

	// Too much, too fast.
	exact(432, 4, 3, 2, "", fault.Throttled, 5*time.Second, "TOO_MANY_CONNECTIONS", "lower the pool size if other programs send from this mailbox too")
	add(0, [3]int{4, 7, 500}, [3]int{4, 7, 699}, "", fault.Throttled, quarter, "TRAFFIC_UNDER_SUSPICION", admin+"look why the provider mistrusts this address or tenant")
	add(0, [3]int{4, 7, 850}, [3]int{4, 7, 899}, "", fault.Throttled, quarter, "TRAFFIC_UNDER_SUSPICION", admin+"look why the provider mistrusts this address or tenant")
	exact(421, 4, 7, 0, "unusual rate", fault.Throttled, hour, "UNUSUAL_RATE", "send less, or let the provider know")
	exact(450, 4, 2, 1, "", fault.Throttled, quarter, "RECIPIENT_RATE", "")
	exact(0, 5, 1, 90, "", fault.Throttled, hour, "DAILY_RECIPIENTS", "wait for the 24 hour window to move, or spread the mail over more mailboxes")
	exact(0, 5, 2, 0, "submissionquotaexceeded", fault.Throttled, hour, "DAILY_RECIPIENTS", "wait for the 24 hour window to move, or spread the mail over more mailboxes")
	exact(0, 5, 2, 2, "submission quota exceeded", fault.Throttled, hour, "DAILY_RECIPIENTS", "wait for the 24 hour window to move, or spread the mail over more mailboxes")
	exact(0, 5, 4, 5, "", fault.Throttled, day, "DAILY_LIMIT", "wait a day, or spread the mail over more mailboxes")
	add(0, [3]int{5, 2, 121}, [3]int{5, 2, 122}, "", fault.Throttled, hour, "RECIPIENT_RATE", "")
	add(0, [3]int{5, 7, 232}, [3]int{5, 7, 233}, "", fault.Throttled, day, "TENANT_RECIPIENTS", "wait a day, or buy licences that allow more external recipients")

	// The sender's mailbox or tenant: nothing more can be sent before somebody acts.
	exact(0, 5, 2, 2, "mailbox full", fault.Auth, 0, "SENDER_MAILBOX_FULL", "make room in the sending mailbox: the provider keeps a copy in Sent Items")
	exact(0, 5, 2, 2, "quotaexceeded", fault.Auth, 0, "SENDER_MAILBOX_FULL", "make room in the sending mailbox: the provider keeps a copy in Sent Items")
	exact(0, 5, 1, 8, "bad outbound sender", fault.Auth, 0, "SENDER_BLOCKED", admin+"unblock the sender (Restricted entities) once the cause is found")
	add(0, [3]int{5, 7, 501}, [3]int{5, 7, 503}, "", fault.Auth, 0, "SENDER_BLOCKED", admin+"unblock the sender (Restricted entities) once the cause is found")
	exact(0, 5, 7, 511, "", fault.Auth, 0, "SENDER_BLOCKED", admin+"ask the provider to unblock the sending address")
	exact(0, 5, 7, 800, "", fault.Auth, 0, "SENDER_BLOCKED", admin+"unblock the sender once the cause is found")
	exact(0, 5, 7, 705, "", fault.Auth, 0, "TENANT_BLOCKED", admin+"ask the provider to lift the tenant's limit")
	exact(0, 5, 7, 708, "", fault.Auth, 0, "TENANT_BLOCKED", admin+"ask the provider to lift the tenant's limit")
	exact(0, 5, 7, 750, "", fault.Auth, 0, "DOMAIN_NOT_REGISTERED", admin+"register the sender's domain with the tenant")

	// This message.
	exact(0, 5, 7, 60, "", fault.Permanent, 0, "SEND_AS_DENIED", admin+"grant SendAs, or send with the mailbox's own address in MAIL FROM and From")
	exact(0, 5, 2, 252, "", fault.Permanent, 0, "SEND_AS_DENIED", admin+"grant SendAs, or send with the mailbox's own address in MAIL FROM and From")
	exact(0, 5, 7, 26, "", fault.Permanent, 0, "SENDER_NOT_AUTHENTICATED", admin+"publish SPF, DKIM and DMARC records that cover this server")
	exact(0, 5, 7, 509, "", fault.Permanent, 0, "SENDER_NOT_AUTHENTICATED", admin+"publish SPF, DKIM and DMARC records that cover this server")
	exact(0, 5, 7, 23, "", fault.Permanent, 0, "SENDER_NOT_AUTHENTICATED", admin+"publish an SPF record that covers this server")
	exact(0, 5, 6, 0, "", fault.Permanent, 0, "CONTENT_INVALID", "mend the message: lines must end with CRLF")
	exact(0, 5, 6, 11, "", fault.Permanent, 0, "CONTENT_INVALID", "mend the message: lines must end with CRLF")
	exact(0, 5, 3, 4, "", fault.Permanent, 0, "MESSAGE_TOO_LARGE", "send less, or raise the limit on the server")
	exact(0, 5, 2, 3, "", fault.Permanent, 0, "MESSAGE_TOO_LARGE", "send less, or raise the limit on the server")
	// RFC 5321 section 4.5.3.1.10: 552 from old servers means the same as 452, too many recipients.
	exact(0, 4, 5, 3, "", fault.Temporary, 0, "TOO_MANY_RECIPIENTS", "")
	exact(0, 5, 5, 3, "too many recipients", fault.Temporary, 0, "TOO_MANY_RECIPIENTS", "")
	return all
}

func (r rule) holds(reply Reply, text string) bool {
	return (r.code == 0 || r.code == reply.Code) &&
		(r.from == [3]int{} || within(r.from, reply.Enhanced, r.to)) &&
		strings.Contains(text, r.text)
}

func within(from, e, to [3]int) bool {
	return e[0] == from[0] && e[1] == from[1] && from[2] <= e[2] && e[2] <= to[2]
}

// classify says what to do about a reply that is no yes.
func classify(r Reply, at step) error {
	e := &fault.Error{Kind: byDigit(r, at), Err: r}
	text := strings.ToLower(r.text())
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
func byDigit(r Reply, at step) fault.Kind {
	switch {
	case r.Code/100 != 5:
		return fault.Temporary // also 2xx and 3xx where they make no sense
	case at == atLogin && (r.Code == 535 || r.Code == 534 || r.Code == 538):
		return fault.Auth
	case at == atOpen || at == atLogin:
		return fault.Temporary // about the server, not about the message: the message is not to die for it
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
