package outbound

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
)

// looks is how many attempts are looked for before on-unknown decides: providers show what they moved or copied with some
// delay.
const looks = 4

// undecided is an earlier attempt of which nobody can tell whether it sent the message: on-unknown decides.
type undecided struct{ why string }

// Error tells what was found out, for people.
func (u undecided) Error() string { return "in doubt: " + u.why }

var (
	errVanished = undecided{"the message is neither in the drafts nor in the sent items; it may be sent, and the copy removed"}
	errNoCopy   = undecided{"there is no copy in the sent items; it may be sent all the same, if the server keeps none"}
	errUnasked  = undecided{"an earlier attempt ended without an answer, so the message may be sent already"}
)

// blind is why nobody can look whether an earlier attempt sent the message.
func blind(why error) undecided {
	return undecided{"cannot look whether it was sent: " + why.Error()}
}

// holds says whether what is in doubt after err waits for an operator: if on-unknown says so, and nobody can tell.
func (l *lane) holds(err error) bool {
	var u undecided
	return l.settings.Outbound.OnUnknown == tokenclient.HoldUnknown && (!l.looks() || errors.As(err, &u))
}

// looks says whether somebody can tell what became of an earlier attempt.
func (l *lane) looks() bool {
	_, drafts := l.transport.(Drafter)
	return drafts || l.finder != nil
}

// unseen decides about an earlier attempt that left nothing to be seen. nil: the message is sent again.
func (s *Sender) unseen(l *lane, j Job, u undecided) error {
	if j.Attempts < looks {
		return fault.Newf(fault.InDoubt, "%s; looking again", u)
	}
	return s.decide(l, j, u)
}

// decide does what on-unknown says. nil: the message is sent again.
func (s *Sender) decide(l *lane, j Job, u undecided) error {
	if l.holds(u) {
		u.why += "; on-unknown is hold"
		return fault.New(fault.InDoubt, u)
	}
	s.Log.Info("on-unknown decides about a message in doubt", "mailbox", j.Mailbox, "protocol", s.Protocol, "id", j.ID, "why", u)
	return nil
}

// sentBefore looks whether an earlier attempt of a Transport without drafts sent the message after all.
func (s *Sender) sentBefore(ctx context.Context, l *lane, j Job, b mail.Body) (bool, error) {
	switch {
	case !j.InDoubt:
		return false, nil
	case l.finder == nil:
		return false, s.decide(l, j, errUnasked)
	}
	id, from, err := s.trail(ctx, j, b)
	var u undecided
	switch {
	case errors.As(err, &u):
		return false, s.decide(l, j, u)
	case err != nil:
		return false, fault.New(fault.InDoubt, err)
	}
	return s.look(ctx, l, j, id, from)
}

// look asks for a copy in the sent items. A mailbox that cannot be looked into does not keep its mail from being sent.
func (s *Sender) look(ctx context.Context, l *lane, j Job, id string, from time.Time) (bool, error) {
	found, err := l.finder.FindSent(ctx, id, from)
	switch {
	case found:
		s.Log.Info("an earlier attempt had sent the message", "mailbox", j.Mailbox, "protocol", s.Protocol, "id", j.ID)
		return true, nil
	case err == nil:
		return false, s.unseen(l, j, errNoCopy)
	}
	switch kindOf(err) {
	case fault.Auth, fault.Permanent, fault.Gone:
		return false, s.unseen(l, j, blind(err))
	}
	return false, fault.New(fault.InDoubt, fmt.Errorf("look among the sent items: %w", err))
}

// trail is what an earlier attempt is to be recognised by. An undecided error: it cannot be.
func (s *Sender) trail(ctx context.Context, j Job, b mail.Body) (id string, from time.Time, err error) {
	st, err := s.Outbox.Get(ctx, j.ID)
	if err != nil {
		return "", time.Time{}, fmt.Errorf("look at the message: %w", err)
	}
	id, err = identify(j, st, b)
	return id, since(j, st), err
}

// What keeps a copy from telling whether everybody got the message.
var (
	errNameless = errors.New("it has no Message-ID to look for")
	errSplit    = errors.New("its header cannot be read, or names others than its envelope, to whom it may have been sent under the same Message-ID")
	errSome     = errors.New("nobody knows whether the server took each of its recipients")
)

// identify is the Message-ID by which a copy tells that the open recipients got the message. It does not if that id was, or may
// have been, sent more than once: programs that send to each recipient apart use one id for all of them.
func identify(j Job, st Status, b mail.Body) (id string, err error) {
	if len(j.Envelope.Recipients) > 1 && j.Draft != offeredToAll {
		return "", blind(errSome)
	}
	whole := mail.Envelope{}
	for _, r := range st.Recipients {
		whole.Recipients = append(whole.Recipients, mail.Recipient{Address: r.Address})
	}
	err = read(b, func(r io.Reader) (err error) { _, err = mail.Unnamed(whole, r); return err })
	var header *mail.HeaderError
	if errors.As(err, &header) {
		return "", blind(errSplit)
	}
	if err == nil {
		err = read(b, func(r io.Reader) (err error) { id, err = mail.MessageID(r); return err })
	}
	if err == nil && id == "" {
		return "", blind(errNameless)
	}
	return id, err
}

// read gives f the message from its start.
func read(b mail.Body, f func(io.Reader) error) error {
	r, err := b.Open()
	if err != nil {
		return fmt.Errorf("open message: %w", err)
	}
	return errors.Join(f(r), r.Close())
}

const (
	// skew is how far a provider's clock may be behind ours.
	skew = 2 * time.Minute
	// aside is for how long after an attempt that some recipients got, copies count as that attempt's. The next one comes
	// after recipientWait at the earliest.
	aside = recipientWait / 2
)

// since is from when on a copy may be that of an earlier attempt: not before the Outbox had the message, and after the last
// attempt that is known to have sent it to others.
func since(j Job, st Status) time.Time {
	from := j.Accepted.Add(-skew)
	for _, r := range st.Recipients {
		if r.State == Sent {
			from = latest(from, r.Changed.Add(aside))
		}
	}
	return from
}

// offeredToAll is what is remembered of an attempt that ended in doubt after the server had taken every open recipient. Who
// was refused for now got nothing, whatever a copy of the message seems to say; after a crash nobody knows.
const offeredToAll = "offered to all"

// leaveTrace remembers that an attempt offered the message to everybody who will be open.
func (s *Sender) leaveTrace(ctx context.Context, j Job, r Receipt) error {
	for _, refused := range r.Refused {
		if kindOf(refused.Err) != fault.Permanent {
			return nil
		}
	}
	return s.remember(ctx, j, offeredToAll)
}

// clearTrace forgets what an earlier attempt left: it says nothing about the next one.
func (s *Sender) clearTrace(ctx context.Context, j Job) error {
	if j.Draft != offeredToAll {
		return nil
	}
	return s.remember(ctx, j, "")
}

// remember keeps Job.Draft, also when the attempt was stopped.
func (s *Sender) remember(ctx context.Context, j Job, trace string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Options.Claim)
	defer cancel()
	if err := s.Outbox.Drafted(ctx, j, trace); err != nil {
		return fmt.Errorf("remember what the attempt came to: %w", err)
	}
	return nil
}
