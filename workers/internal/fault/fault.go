// Package fault says what to do about an error. A Kind is assigned once, in the errors.go of the edge that met the
// server's reply; engines decide by it, and the same word is the metric label.
package fault

import (
	"errors"
	"fmt"
	"time"
)

// Kind says what to do, not where it hurt.
type Kind int

const (
	Temporary  Kind = iota // try again later; what nobody recognised is temporary, permanence must be proved
	Permanent              // never try this again
	Gone                   // the message or folder is no longer there
	Auth                   // the server refused the credential: ask the broker for another, once
	Throttled              // the server asks for patience: not before After
	InDoubt                // the link broke after the hand-over: the server may have taken the message
	CursorLost             // the cursor means nothing to the server any more: list from the beginning
)

var names = [...]string{"temporary", "permanent", "gone", "auth", "throttled", "in-doubt", "cursor-lost"}

// String is the word for logs and labels.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(names) {
		return "temporary"
	}
	return names[k]
}

// Error is an error of a known kind.
type Error struct {
	Kind   Kind
	After  time.Duration // how long to wait; Throttled only, 0 = unknown
	Reason string        // UPPER_SNAKE_CASE name of a known cause, or empty
	Remedy string        // one sentence: who must do what; or empty
	Err    error         // what happened, without any credential
}

// Error names the cause, not the kind: the kind is a label of its own.
func (e *Error) Error() string {
	if e.Remedy == "" {
		return e.Err.Error()
	}
	return e.Err.Error() + " (" + e.Remedy + ")"
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// TokenRefused tells tokenclient.Use that another token may help.
func (e *Error) TokenRefused() bool { return e.Kind == Auth }

// New wraps err with a kind; nil stays nil.
func New(k Kind, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Kind: k, Err: err}
}

// Newf is New of a formatted error.
func Newf(k Kind, format string, args ...any) error { return New(k, fmt.Errorf(format, args...)) }

// Of is the kind of err; Temporary for what nobody classified.
func Of(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return Temporary
}

// After is how long err asks to wait, 0 if it does not say.
func After(err error) time.Duration {
	var e *Error
	if errors.As(err, &e) {
		return e.After
	}
	return 0
}
