package keeper

import (
	"time"

	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
	"mailporter/kit/secret"
)

// Wish is what a caller wants.
type Wish struct {
	Credential *token.Credential // never changed while the Keeper knows it
	Audience   token.Audience
	// Margin is how long the token must stay valid, strictly: the section's margin, or the caller's min_validity if that is
	// more.
	Margin time.Duration
	// NewerThan, if positive, asks for a token of a larger generation: the caller knows that this one does not work.
	NewerThan int64
}

func (w Wish) key() token.Key { return w.Credential.Key(w.Audience) }

// Source is where a token came from, for the audit.
type Source string

// The sources.
const (
	FromMemory   Source = "memory"
	FromCache    Source = "cache"
	FromProvider Source = "provider"
)

// Handout is a token that is outside its margin.
type Handout struct {
	Token       token.Token
	Fingerprint secret.Fingerprint // of the token: every caller needs it, and it takes longer than all the rest
	UsableUntil time.Time          // Expires less the margin
	RenewAt     time.Time          // when the Keeper begins to renew it; not after UsableUntil
	Warning     *remedy.Fault      // not nil: the token is good, but its renewal is in trouble
	Source      Source
}

// Outcome is what a report of a refused token leads to.
type Outcome string

// The outcomes.
const (
	// AlreadyReplaced: it is not the current token; nothing was spent.
	AlreadyReplaced Outcome = "already-replaced"
	// Replacing: it was the current one; another is on its way.
	Replacing Outcome = "replacing"
	// Suppressed: fresh tokens are refused again and again, so the mailbox is at fault.
	Suppressed Outcome = "suppressed"
)

// Rejection answers a report of a refused token.
type Rejection struct {
	Outcome    Outcome
	Generation int64         // of the current token, 0 if there is none
	Fault      *remedy.Fault // with Suppressed: the remedy, and in After how long to wait
}

// State is a credential's condition in one word.
type State string

// The states.
const (
	Unknown  State = "unknown"  // nobody asked yet
	Ready    State = "ready"    // there is a usable token, or nothing stands in the way of one
	Degraded State = "degraded" // there is a usable token, but its renewal fails, or servers refuse fresh ones
	Waiting  State = "waiting"  // no usable token; tried again at NextTry
	Frozen   State = "frozen"   // no usable token; a person must act
)

// Status is what the Keeper knows about a credential and an audience.
type Status struct {
	State      State
	Fault      *remedy.Fault // what is wrong, or nil
	Since      time.Time     // when that began
	Failures   int           // in a row
	NextTry    time.Time     // zero: not before something changes, or nothing to do
	Generation int64         // of the token, 0 if there is none
	Expires    time.Time     // of the token
	Minted     time.Time     // the last success
	Due        Due           // when a person must act at the latest, and why
	Mints      int64         // tokens that this process got from the provider
}
