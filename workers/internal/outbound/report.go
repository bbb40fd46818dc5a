package outbound

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"mailporter/workers/internal/mail"
)

// Action is what became of a recipient, in the words of RFC 3464 section 2.3.3.
type Action string

const (
	Failed  Action = "failed"  // given up
	Delayed Action = "delayed" // tried on
	Relayed Action = "relayed" // taken by a server that reports nothing itself
)

// Outcome is a recipient and what became of him.
type Outcome struct {
	mail.Recipient
	Failure // Relayed: empty
}

// Notice is what one report tells: the same of one message's recipients, without those who did not ask.
type Notice struct {
	Action     Action
	Job        Job    // as it was claimed
	Through    string // the mailbox that sends the report
	Recipients []Outcome
	Attempted  time.Time // the last attempt
	Until      time.Time // when a delayed message is given up; zero: not while its mailbox waits
}

// ID is the same for the same notice, whoever makes it and how often.
func (n Notice) ID() string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n%s\n%d\n", n.Action, n.Job.Mailbox, n.Job.ID, n.Job.Accepted.UnixMicro())
	if n.Action != Delayed { // of a delay is told once, whoever waits
		for _, to := range n.Recipients {
			fmt.Fprintln(h, to.Recipient.Address)
		}
	}
	return "report-" + hex.EncodeToString(h.Sum(nil)[:16])
}

// A Reporter writes the message that tells somebody of a Notice. It is called once for each, or again after a crash or a
// failure; original is the message that the notice is about, nil if it cannot be read.
type Reporter interface {
	Report(n Notice, original mail.Body) (mail.Envelope, []byte, error)
}

// Words of NOTIFY: RFC 3461 section 4.1.
const (
	never   = "NEVER"
	success = "SUCCESS"
	failure = "FAILURE"
	delay   = "DELAY"
)

// asks says whether the submitter wants to hear of an event. Who said nothing wants to hear of failures and, as that
// section allows, of delays.
func asks(to mail.Recipient, event string) bool {
	if to.Notify == "" {
		return event != success
	}
	return slices.Contains(strings.Split(to.Notify, ","), event)
}

// notices lists what a verdict gives reason to tell. Nothing is told of who may have the message: nobody knows, and an
// operator or the next attempt finds out.
func notices(o Options, through string, j Job, r Receipt, v Verdict, now time.Time) []Notice {
	if j.Envelope.From == "" {
		return nil // RFC 5321 section 4.5.5: reports come without a return path, and are not reported on
	}
	var all []Notice
	add := func(a Action, event string, those []Failure) {
		n := Notice{Action: a, Job: j, Through: through, Recipients: outcomes(j, event, those), Attempted: now}
		if !v.Free {
			n.Until = j.Accepted.Add(o.GiveUp)
		}
		if len(n.Recipients) > 0 {
			all = append(all, n)
		}
	}
	add(Failed, failure, v.Dead)
	if !r.Reports {
		add(Relayed, success, nobodyFailed(v.Sent))
	}
	if late(o, j, v, now) && (!v.Free || through != j.Mailbox) { // what keeps the whole mailbox waiting would keep its report waiting, too
		add(Delayed, delay, v.Later)
	}
	return all
}

func nobodyFailed(addresses []string) []Failure {
	all := make([]Failure, len(addresses))
	for i, a := range addresses {
		all[i].Address = a
	}
	return all
}

// outcomes joins what the envelope and the verdict say of those who asked for the event.
func outcomes(j Job, event string, those []Failure) []Outcome {
	what := make(map[string]Failure, len(those))
	for _, f := range those {
		what[f.Address] = f
	}
	var all []Outcome
	for _, to := range j.Envelope.Recipients {
		if f, ok := what[to.Address]; ok && asks(to, event) {
			all = append(all, Outcome{to, f})
		}
	}
	return all
}

// lateness is how long after DelayAfter a delay is still told of. The Outbox knows for a week that it was; a message that
// nobody tried in all that time is near its end, and that will be told.
const lateness = 6 * 24 * time.Hour

// late says whether the message has waited for so long that its sender should know.
func late(o Options, j Job, v Verdict, now time.Time) bool {
	over := now.Sub(j.Accepted) - o.DelayAfter
	return o.DelayAfter > 0 && over >= 0 && over < lateness && !v.Doubt && !v.Held
}

// through is the mailbox that sends the reports about a mailbox's mail: that mailbox, unless ReportsThrough is one that mail is
// sent from here. Reports that wait for a mailbox nobody serves would never leave.
func (s *Sender) through(mailbox string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.reporting(); l != nil {
		return l.settings.Mailbox
	}
	return mailbox
}

// reporting is the lane of ReportsThrough, nil if there is none; s.mu is held.
func (s *Sender) reporting() *lane {
	if s.ReportsThrough == "" {
		return nil
	}
	for mailbox, l := range s.lanes {
		if strings.EqualFold(mailbox, s.ReportsThrough) && l.broken == nil {
			return l
		}
	}
	return nil
}

// tell files the reports that a verdict calls for. It comes before Settle: a worker that dies in between files them once
// more, by the same request, which is the same message. One that cannot be filed is given up in time for the verdict to be
// recorded within the claim: what was sent must not be sent again for the sake of a report.
func (s *Sender) tell(ctx context.Context, j Job, r Receipt, v Verdict) {
	if s.Reporter == nil {
		return
	}
	stopped := ctx.Err() != nil
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Options.Claim/6)
	defer cancel()
	for _, n := range notices(s.Options, s.through(j.Mailbox), j, r, v, time.Now()) {
		if s.told.has(n) || stopped && n.Action == Delayed { // an attempt that this worker broke off says nothing about the mailbox
			continue
		}
		log := s.Log.With("mailbox", j.Mailbox, "id", j.ID, "action", n.Action, "recipients", len(n.Recipients))
		id, err := s.insist(ctx, n)
		s.Metrics.report(n.Action, err)
		if err != nil {
			log.Error("nobody is told what became of the message: its report could not be stored", "error", err)
			continue
		}
		s.told.add(n)
		log.Info("report filed", "report", id)
	}
}

// told are the delays that this process told of. Each attempt would tell again, and the Outbox keep one; this spares it
// the trouble, and the metrics the difference.
type told struct {
	mu sync.Mutex
	at map[string]time.Time // by Notice.ID
}

func (t *told) has(n Notice) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.at[n.ID()].IsZero()
}

// add remembers a delay for as long as it could be told again.
func (t *told) add(n Notice) {
	if n.Action != Delayed {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.at == nil {
		t.at = map[string]time.Time{}
	}
	maps.DeleteFunc(t.at, func(_ string, at time.Time) bool { return n.Attempted.Sub(at) > lateness })
	t.at[n.ID()] = n.Attempted
}

// patient is how often a report is tried with the message that it is about. After that it goes without: bytes that are lost
// must not keep their sender from hearing of it.
const patient = 4

// insist files a report, again and again while there is time.
func (s *Sender) insist(ctx context.Context, n Notice) (id string, err error) {
	var original mail.Body = stored{ctx: ctx, outbox: s.Outbox, job: n.Job}
	pause := 50 * time.Millisecond
	for try := 0; ; try++ {
		if try == patient {
			original = nil
		}
		if id, err = s.file(ctx, n, original); err == nil || ctx.Err() != nil {
			return id, err
		}
		pause *= 2
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// file puts a report into the Outbox, from where it goes as all mail does. No report is made about it: it says NEVER.
func (s *Sender) file(ctx context.Context, n Notice, original mail.Body) (id string, err error) {
	envelope, message, err := s.Reporter.Report(n, original)
	if err != nil {
		return "", fmt.Errorf("write report: %w", err)
	}
	for i := range envelope.Recipients {
		envelope.Recipients[i].Notify = never
	}
	return s.Outbox.Add(ctx, Submission{Mailbox: n.Through, Envelope: envelope, Body: bytes.NewReader(message), Request: n.ID()})
}
