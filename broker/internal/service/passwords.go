package service

import (
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"

	brokerv1 "mailporter/gen/mailporter/broker/v1"

	"mailporter/broker/internal/directory"
	"mailporter/broker/internal/remedy"
	"mailporter/kit/secret"
)

// passwords remembers which ones mail servers refused. A refused password is not handed out for a while, longer after
// each further refusal: a fleet of workers that tries it again and again locks the account. A changed password is another
// one and goes out at once. It forgets with the process, which costs one try.
type passwords struct {
	mu      sync.Mutex
	refused map[passwordKey]*refusedPassword
	changed chan struct{} // closed at the next change; nil while nobody waits for it
}

type passwordKey struct {
	mailbox   string
	direction directory.Direction
}

type refusedPassword struct {
	password secret.String
	since    time.Time // of the first refusal
	until    time.Time // not handed out before
	wait     time.Duration
}

// The waits. Five minutes lets a disturbed server recover; twelve tries a day do not lock an account.
const (
	firstWait = 5 * time.Minute
	lastWait  = 2 * time.Hour
)

func passwordOf(s *directory.Section) passwordKey { return passwordKey{s.Mailbox, s.Direction} }

// refuse notes that a server refused the section's password and returns how long it is kept back. Reports that come while
// it is kept back are about the same try.
func (p *passwords) refuse(s *directory.Section, now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refused == nil {
		p.refused = map[passwordKey]*refusedPassword{}
	}
	r := p.refused[passwordOf(s)]
	if r == nil || !r.password.Equal(s.Password) {
		r = &refusedPassword{password: s.Password, since: now}
		p.refused[passwordOf(s)] = r
	}
	if now.Before(r.until) {
		return r.until.Sub(now)
	}
	r.wait = min(max(2*r.wait, firstWait), lastWait)
	r.until = now.Add(r.wait)
	p.tell()
	return r.wait
}

// news is closed when a password is kept back, or let go again by an operator.
func (p *passwords) news() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.changed == nil {
		p.changed = make(chan struct{})
	}
	return p.changed
}

// tell closes news; the caller holds p.mu.
func (p *passwords) tell() {
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

// held is the refusal of the section's password, if it is kept back.
func (p *passwords) held(s *directory.Section, now time.Time) (refusedPassword, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.refused[passwordOf(s)]
	if r == nil {
		return refusedPassword{}, false
	}
	if !r.password.Equal(s.Password) {
		delete(p.refused, passwordOf(s))
		return refusedPassword{}, false
	}
	return *r, now.Before(r.until)
}

// forget lets the section's password go out again.
func (p *passwords) forget(s *directory.Section) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.refused, passwordOf(s))
	p.tell()
}

const (
	passwordReason = "PASSWORD_REJECTED"
	passwordRemedy = "Whoever configures the broker must correct the mailbox's password, or make sure that the server allows passwords: it refused this one."
)

// refusal is what callers hear while the password is kept back.
func (r refusedPassword) refusal(s *directory.Section, now time.Time) *refusal {
	no := refuse(codes.FailedPrecondition, passwordReason, string(remedy.NeedsUser), passwordReason+": "+passwordRemedy, passwordRemedy)
	no.more = append(no.more, &errdetails.PreconditionFailure{Violations: []*errdetails.PreconditionFailure_Violation{
		{Type: string(remedy.NeedsUser), Subject: s.Mailbox, Description: passwordRemedy}}})
	no.after = r.until.Sub(now)
	return no
}

// show puts it into the status.
func (r refusedPassword) show(out *brokerv1.MailboxStatus) {
	out.State, out.FailureClass = brokerv1.State_STATE_WAITING, brokerv1.FailureClass_FAILURE_CLASS_NEEDS_USER
	out.Reason, out.Remedy = passwordReason, passwordRemedy
	out.FailingSinceTime, out.NextAttemptTime = stamp(r.since), stamp(r.until)
}
