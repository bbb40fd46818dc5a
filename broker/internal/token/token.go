// Package token holds the words of the broker: what a token is, whose it is, and the margin rule. Pure values and pure
// functions; time comes in as an argument.
package token

import (
	"time"

	"mailporter/kit/secret"
)

// Audience is what a token is for: the scope asked for, as the provider wants it.
type Audience string

// Key names a token. Tokens belong to a credential and an audience, not to a mailbox: one app-only token serves every
// mailbox of its tenant.
type Key struct {
	Credential string // Credential.ID
	Version    string // Credential.Version: a changed secret is another key, so nothing old is served for it
	Audience   Audience
}

// Token is an access token.
type Token struct {
	Value      secret.String
	Sent       time.Time     // when the request for it was sent
	Expires    time.Time     // Sent + expires_in
	RenewIn    time.Duration // refresh_in of the answer, counted from Sent; 0 = not given
	Generation int64         // counts up with every new token of the key
	Trace      string        // the provider's correlation id, for the audit
}

// Life is how long it lived when it was asked for.
func (t Token) Life() time.Duration { return t.Expires.Sub(t.Sent) }

// Zero says that there is no token.
func (t Token) Zero() bool { return t.Value.Empty() }
