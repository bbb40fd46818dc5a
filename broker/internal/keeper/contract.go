// Package keeper is the broker's engine: it keeps every credential's tokens outside their margin with as few requests to
// the providers as can be. It does no I/O of its own.
//
// The way to a token: cache, lease, cache again, Mint, save the rotated refresh token, then hand out. A dead cache costs
// requests, not an outage. A refresh token that was rotated is a credential, not cache: it is written durably before the
// access token is handed out, and the previous one is kept until the new one has worked. Only brokerctl deletes one.
package keeper

import (
	"context"
	"errors"
	"time"

	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
	"mailporter/kit/secret"
)

// Minted is what one round trip to the provider brought.
type Minted struct {
	Token   token.Token   // Generation is not set: the Keeper numbers it
	Refresh secret.String // the rotated refresh token; empty = none came, keep the old one
}

// A Grant makes one round trip to the provider: it never retries, sleeps, caches or logs. Of several Secrets or
// Certificates it uses the first. refresh is the refresh token to use, for grants that use one. Errors are *remedy.Fault. Many calls run side by side.
type Grant interface {
	Mint(ctx context.Context, c token.Credential, refresh secret.String, a token.Audience) (Minted, error)
}

// A Cache keeps tokens for the fleet. Every error is only a miss to the Keeper; a value that does not open (tampered,
// moved, sealed with another keyset) is ErrSealed: a miss and an alarm, never used as it is.
type Cache interface {
	// Get returns the token of the highest generation; a zero Token if there is none.
	Get(ctx context.Context, k token.Key) (token.Token, error)
	// Put stores the token unless one of an equal or higher generation is there. It may be dropped after t.Expires.
	Put(ctx context.Context, k token.Key, t token.Token) error
}

var (
	// ErrSealed says that a stored value could not be opened.
	ErrSealed = errors.New("stored value does not open with the keyset")
	// ErrLeased says that another broker is renewing this credential.
	ErrLeased = errors.New("another broker holds the lease")
	// ErrLost says that the lease ended; nothing was written.
	ErrLost = errors.New("the lease was lost")
)

// Record is what the fleet knows about a credential.
type Record struct {
	Refresh  secret.String // the newest refresh token; empty = use the configured one
	Previous secret.String // the one before, kept until the newest has worked once
	Version  string        // Credential.Version at the time; a Record of another version holds no valid Frozen, Barred or Hold
	Frozen   *remedy.Fault // nothing is tried until a person acts
	// Barred are the audiences that the provider refuses while the credential itself works: a mistyped scope of one
	// mailbox must not stop the thousands that share its application.
	Barred   map[token.Audience]*remedy.Fault
	Since    time.Time     // when the present failure began
	Failures int           // in a row
	Hold     time.Time     // not before: throttled, or backing off
	Last     *remedy.Fault // the failure behind Hold
	Rotated  time.Time     // when Refresh was written
	First    time.Time     // when the configured refresh token, or one that came of it, worked first; zero = not yet
	Forced   []time.Time   // renewals forced by refused tokens within forcedWindow, oldest first
	Minted   time.Time     // the last success
	Changed  time.Time
}

// Credentials is the durable memory of credentials. Losing it loses refresh tokens that nobody can bring back.
type Credentials interface {
	// Lease takes the right to renew a credential for ttl, or answers ErrLeased. The lease is bound to a fencing number
	// that only grows. A record that does not open is ErrSealed, and nobody has the lease.
	Lease(ctx context.Context, id string, ttl time.Duration) (Lease, error)
	// Load returns the record without a lease; a zero Record if there is none.
	Load(ctx context.Context, id string) (Record, error)
	// Changes delivers the id of a credential whose record or tokens another broker changed; missing some is allowed.
	Changes() <-chan string
}

// A Shelver is a Credentials that can put a record aside which does not open: it is kept, for whoever finds the keyset, and the
// credential begins anew with what is configured. Only Reset calls it, because a person said so.
type Shelver interface {
	Shelve(ctx context.Context, id string) error
}

// A Lease is the right to renew one credential.
type Lease interface {
	// Record is the record as of the lease.
	Record() Record
	// Save writes the record durably, or answers ErrLost and writes nothing.
	Save(ctx context.Context, r Record) error
	// Release ends the lease and wakes who waits for it.
	Release(ctx context.Context) error
}
