package tokenclient

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"mailporter/kit/secret"
)

// Ask says which credential is wanted.
type Ask struct {
	Mailbox     string // address as configured; case does not matter
	Direction   Direction
	MinValidity time.Duration // the token must stay valid for more than this; the mailbox's margin if that is larger
	NewerThan   int64         // if positive, only a token of a larger Generation will do
}

// Token is a credential to log in with: an access token, or for Mechanism Basic a password. Its times are on this
// machine's clock, counted from when the broker answered; they are zero for a password, which does not expire.
type Token struct {
	Value       secret.String
	User        string // whom to name beside it
	Mechanism   Mechanism
	Expires     time.Time          // when the provider stops accepting it
	UsableUntil time.Time          // Expires less the margin: nothing new starts on it from here on
	Renews      time.Time          // when the broker will have a newer one
	Fingerprint secret.Fingerprint // names it in logs; zero for a password, whose sum would tell too much
	Generation  int64              // counts up with every new token of the same credential
	Warning     string             // it is good, but its renewal is in trouble: what is wrong and who must act
}

// Usable says whether something new may start with the token at now.
func (t Token) Usable(now time.Time) bool { return t.UsableUntil.IsZero() || now.Before(t.UsableUntil) }

// IsPassword says whether the credential is a password.
func (t Token) IsPassword() bool { return t.Mechanism == Basic }

// String names the token without telling it.
func (t Token) String() string {
	if t.IsPassword() {
		return "password of " + t.User
	}
	return fmt.Sprintf("token %s of %s, generation %d", t.Fingerprint, t.User, t.Generation)
}

// Format prints String under every verb, so that no %#v or %x digs deeper.
func (t Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.String()) }

// LogValue is String for slog.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// Refusal says how a server refused a token.
type Refusal struct {
	Kind   RefusalKind
	Server string    // host:port
	Reply  string    // what it said; the token itself is cut out and 512 bytes are sent
	At     time.Time // when
}

// Outcome is what the broker does about a refused token.
type Outcome struct {
	Kind   OutcomeKind
	Wait   time.Duration // Suppressed: do not ask again before
	Remedy string        // Suppressed: who must do what
	Reason string        // Suppressed: what is wrong, UPPER_SNAKE_CASE
}

// Broker hands out credentials. Client is one; brokertest has one for tests. Both methods may be called from many
// goroutines at once, answer within the context's deadline, and return *Error.
type Broker interface {
	// Acquire returns a credential that is good now and for longer than the mailbox's margin and a.MinValidity. It is
	// cheap: call it for every connection or request. Neither caller nor callee keeps it beyond UsableUntil.
	Acquire(ctx context.Context, a Ask) (Token, error)
	// Reject reports that a mail server refused t, which was acquired with a. Call it once per refusal. Outcome says
	// whether asking again makes sense.
	Reject(ctx context.Context, a Ask, t Token, r Refusal) (Outcome, error)
}
