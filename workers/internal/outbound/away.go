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

// IsUnreachable says whether an error is of that kind, and one that passes by itself.
func IsUnreachable(err error) bool {
	return errors.As(err, new(unreachable)) && kindOf(err) == fault.Temporary && !brokers(err)
}

// errAway is an unreachable server that is left alone for a while.
type errAway struct {
	error
	wait time.Duration
}

// Unwrap leads to the error itself.
func (e errAway) Unwrap() error { return e.error }

// away is what a lane knows of a server that would not let it begin.
type away struct {
	failures int       // one after the other, with nothing else under way
	until    time.Time // the server is left alone until then
	most     int       // how many attempts side by side it lets begin, 0 = unknown
	mostTill time.Time // for how long that is believed
}

const (
	// awayMost bounds how long a server is left alone: mail waits no longer than that once it is back.
	awayMost = 5 * time.Minute
	// believed is how long a server's bound is kept to before one more connection is tried.
	believed = time.Minute
)

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
	return max(0, a.until.Sub(now))
}

// narrow is limit, or less if the server was seen to let fewer begin: one, after it let nobody, until it lets that one.
func (a *away) narrow(limit int, now time.Time) int {
	switch {
	case a.failures > 0:
		return 1
	case a.most == 0 || now.After(a.mostTill):
		return limit
	}
	return min(limit, a.most)
}

// reached notes whether a lane's server let it begin. Where other attempts are under way the server seems to want fewer of them, so
// there are fewer for a while; where there are none the server is away, and the error says how long it is left alone. Otherwise each message of
// a long queue would knock by itself, thousands a minute, and wait for hours by its own schedule when the server is back.
func (s *Sender) reached(l *lane, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if !IsUnreachable(err) {
		l.away.failures, l.away.until = 0, time.Time{}
		return err
	}
	if others := l.running - 1; others > 0 {
		l.away.most, l.away.mostTill = others, now.Add(believed)
		return err
	}
	return errAway{err, max(l.away.again(now), patience(err))}
}
