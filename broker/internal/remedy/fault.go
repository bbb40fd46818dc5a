// Package remedy turns what a provider says into what a person can use: a class (who or what can end it), a reason (its
// name) and a remedy (one sentence: who must do what).
package remedy

import (
	"fmt"
	"time"
)

// Class says who or what can end a failure.
type Class string

// The classes. The first three freeze a credential: nothing is tried until its configuration changes or an operator
// resets it.
const (
	NeedsAdmin  Class = "needs-admin"
	NeedsUser   Class = "needs-user"
	WrongConfig Class = "wrong-config"
	Throttled   Class = "throttled"
	Transient   Class = "transient"
)

// Freezes says whether only a person can end it.
func (c Class) Freezes() bool { return c == NeedsAdmin || c == NeedsUser || c == WrongConfig }

// Fault is a classified failure. It never holds a secret, nor the provider's text as it came.
type Fault struct {
	Class    Class
	Reason   string        // UPPER_SNAKE_CASE: CLIENT_SECRET_EXPIRED
	Remedy   string        // one sentence
	Link     string        // where to act or read on, or empty
	After    time.Duration // wait at least this long; 0 = not said
	Status   int           // HTTP status, 0 = no answer
	OAuth    string        // `error` of the answer: invalid_client
	Suberror string        // `suberror`, or Google's error_subtype
	Codes    []int         // AADSTS codes
	Trace    string        // correlation id, for a support case
	Detail   string        // what happened where there was no answer: "dial tcp: connection refused"

	// Tries is how many tries are left, this one included, until a transient fault is taken for final; 0 = it never is.
	Tries int

	OfAudience bool // about what was asked for, not about who asks: other audiences of the credential may work
}

// Following is f as it stands after last, which came right before it: of failures that nobody knows the meaning of, the last
// try makes the fault one of the configuration.
func (f *Fault) Following(last *Fault) *Fault {
	if f.Tries == 0 || last == nil || last.Tries == 0 {
		return f
	}
	next := *f
	next.Tries = min(f.Tries, last.Tries-1)
	if next.Tries <= 1 {
		next.Class, next.Tries = WrongConfig, 1
	}
	return &next
}

// Error is one line without secrets.
func (f *Fault) Error() string {
	s := fmt.Sprintf("%s: %s", f.Class, f.Reason)
	if f.Detail != "" {
		s += ": " + f.Detail
	}
	return s
}
