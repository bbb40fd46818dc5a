package outbound

import (
	"errors"
	"time"

	"mailporter/workers/internal/fault"
)

// Unreachable marks a Transport's error as one before any message: the server is away, or did not let one begin. Every message
// of the mailbox would meet the same.
func Unreachable(err error) error { return unreachable{err} }

type unreachable struct{ error }

// Unwrap leads to the error itself.
func (u unreachable) Unwrap() error { return u.error }

func isUnreachable(err error) bool {
	return errors.As(err, new(unreachable)) && kindOf(err) == fault.Temporary
}

// errAway is an unreachable server that is left alone for a while.
type errAway struct {
	error
	wait time.Duration
}

// Unwrap leads to the error itself.
func (e errAway) Unwrap() error { return e.error }

// away is what a lane knows of a server that it did not reach.
type away struct {
	failures int       // one after the other
	until    time.Time // the server is left alone until then
}

// awayMost bounds how long a server is left alone: mail waits no longer than that once it is back.
const awayMost = 5 * time.Minute

// again notes one more failure and returns how long the mailbox waits. The first one is no reason for all to wait: servers close
// a connection now and then. What fails side by side fails once.
func (a *away) again(now time.Time) time.Duration {
	if now.Before(a.until) {
		return a.until.Sub(now)
	}
	a.failures++
	if a.failures > 1 {
		a.until = now.Add(min(wait(a.failures-2), awayMost))
	}
	return a.until.Sub(now)
}

// reached notes whether a lane's server could be reached, and puts into the error of one that could not how long it is left
// alone. Otherwise each message of a long queue would knock by itself, thousands a minute, and then wait for hours by its
// own schedule when the server is back.
func (s *Sender) reached(l *lane, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !isUnreachable(err) {
		l.away = away{}
		return err
	}
	return errAway{err, max(l.away.again(time.Now()), patience(err))}
}
