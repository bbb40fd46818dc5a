package outbound

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/fault"
)

// A Sender takes the jobs that are due out of the Outbox and offers each once to the Transport of its mailbox, as many
// side by side as the mailbox may have connections. Fill in the fields, call Run, and Set whenever settings change.
type Sender struct {
	Protocol  string // for labels: SMTP
	Outbox    Outbox
	Transport func(tokenclient.Settings) (Transport, error) // makes a mailbox's; it does not connect yet
	// SentItems makes what looks among a mailbox's sent mail; a nil SentFinder, and a nil function: nobody looks. It is not
	// asked for a Drafter.
	SentItems func(tokenclient.Settings) (SentFinder, error)
	Ledger    Ledger   // counts what is sent; nil = nobody counts
	Reporter  Reporter // writes what senders are told; nil = nothing
	// ReportsThrough is the mailbox that sends all reports, in any case; empty, or none that mail is sent from here: each goes
	// through the mailbox of its message, and none is made of what keeps all of that mailbox waiting.
	ReportsThrough string
	Options        Options
	Log            *slog.Logger
	Metrics        *Metrics // may be nil
	Board          *Board   // may be nil

	mu    sync.Mutex
	lanes map[string]*lane
	woken chan struct{}
	jobs  sync.WaitGroup
	ends  sync.WaitGroup // transports that close
	told  told

	unsettled unsettled
}

// lane is one mailbox.
type lane struct {
	settings  tokenclient.Settings
	transport Transport
	finder    SentFinder // nil = nobody can look for what was sent
	broken    error      // why there is no transport
	running   int
	retired   bool          // a newer lane has taken its place; the last job closes the transport
	paused    time.Time     // no claims before
	away      away          // its server
	pace      time.Duration // how long an attempt takes; 0 = nobody knows yet
	stuck     bool          // the last attempt ended with something that a person must mend
}

// Set takes the full set of mailboxes to send from. Jobs that run end on what they began with.
func (s *Sender) Set(all []tokenclient.Settings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.lanes
	s.lanes = make(map[string]*lane, len(all))
	for _, set := range all {
		if old := before[set.Mailbox]; old != nil && reflect.DeepEqual(old.settings, set) {
			s.lanes[set.Mailbox] = old
			continue
		}
		s.lanes[set.Mailbox] = s.open(set)
	}
	for mailbox, old := range before {
		if s.lanes[mailbox] != old {
			s.retire(old)
		}
		s.forget(mailbox)
	}
	if s.Reporter != nil && s.ReportsThrough != "" && len(all) > 0 && s.reporting() == nil {
		s.Log.Warn("no mail is sent from the mailbox that reports are to go through; they go through the mailboxes of their messages",
			"mailbox", s.ReportsThrough, "protocol", s.Protocol, "remedy", "name one in reports.through that the broker shows to this worker")
	}
	s.wake()
}

// forget takes a mailbox from the pages that has no lane any more; s.mu is held.
func (s *Sender) forget(mailbox string) {
	if s.lanes[mailbox] == nil {
		s.Board.forget(mailbox)
		s.Metrics.forget(mailbox)
	}
}

// open makes a lane; s.mu is held.
func (s *Sender) open(set tokenclient.Settings) *lane {
	l := &lane{settings: set}
	l.transport, l.broken = s.Transport(set)
	if l.broken == nil {
		s.addFinder(l)
	}
	s.Board.change(set.Mailbox, func(m *MailboxStatus) {
		m.Protocol, m.Problem, m.PausedUntil, m.Because = s.Protocol, nil, time.Time{}, ""
		if l.broken != nil {
			m.fail(l.broken)
		}
	})
	if l.broken != nil {
		s.Log.Error("cannot send from the mailbox", "mailbox", set.Mailbox, "protocol", s.Protocol, "error", l.broken)
	}
	return l
}

// addFinder lets a lane look among sent mail. It can send without.
func (s *Sender) addFinder(l *lane) {
	if s.SentItems == nil {
		return
	}
	if _, drafts := l.transport.(Drafter); drafts {
		return
	}
	var err error
	if l.finder, err = s.SentItems(l.settings); err != nil {
		l.finder = nil
		s.Log.Error("cannot look among the mailbox's sent mail; on-unknown decides", "mailbox", l.settings.Mailbox, "protocol", s.Protocol, "error", err)
	}
}

// retire closes a lane once nothing runs on it; s.mu is held.
func (s *Sender) retire(l *lane) {
	l.retired = true
	if l.running == 0 {
		s.ends.Go(func() { s.closeTransport(l) }) // beside: a server may take its time to say goodbye
	}
}

func (s *Sender) closeTransport(l *lane) {
	if l.transport == nil {
		return
	}
	err := l.transport.Close()
	if l.finder != nil {
		err = errors.Join(err, l.finder.Close())
	}
	if err != nil {
		s.Log.Debug("a connection did not end in order", "mailbox", l.settings.Mailbox, "error", err)
	}
}

// wake makes Run look again; s.mu is held.
func (s *Sender) wake() {
	if s.woken == nil {
		s.woken = make(chan struct{}, 1)
	}
	select {
	case s.woken <- struct{}{}:
	default:
	}
}

func (s *Sender) wakeups() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.woken == nil {
		s.woken = make(chan struct{}, 1)
	}
	return s.woken
}

// Run sends until ctx ends, then lets running transactions end, for at most Options.Drain, and closes all transports.
func (s *Sender) Run(ctx context.Context) {
	s.Options = s.Options.withDefaults()
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(s.Options.Drain, cancel) })
	defer stop()
	s.Board.watch(s.Outlooks)
	woken := s.wakeups()
	for ctx.Err() == nil {
		next := s.round(ctx, work)
		t := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
		case <-woken:
		case <-s.Outbox.Changed():
		case <-t.C:
		}
		t.Stop()
	}
	s.jobs.Wait()
	s.Set(nil)
	s.ends.Wait()
}

// round starts everything that is due and has room, and says when to look again.
func (s *Sender) round(ctx, work context.Context) time.Time {
	// Claims of a worker that died lapse without a signal, so somebody must look now and then.
	next := time.Now().Add(s.Options.Claim / 2)
	groups, resume := s.free(time.Now())
	if !resume.IsZero() {
		next = earliest(next, resume)
	}
	for limit, mailboxes := range groups {
		jobs, err := s.Outbox.Claim(ctx, mailboxes, limit, limit*len(mailboxes), s.Options.Claim)
		if err != nil {
			if ctx.Err() == nil {
				s.Log.Warn("cannot claim mail; trying again", "error", err)
			}
			return time.Now().Add(jitter(time.Second))
		}
		for _, j := range jobs {
			s.start(ctx, work, j)
		}
	}
	idle := s.idle(time.Now())
	if len(idle) == 0 {
		return next
	}
	due, err := s.Outbox.Next(ctx, idle)
	if err == nil && !due.IsZero() {
		next = earliest(next, latest(due, time.Now().Add(jitter(contended))))
	}
	return next
}

// contended is how long to leave alone what is due and was not given to this worker: others have taken all that the
// mailbox may have side by side, and none of them tells this process when it is done.
const contended = 500 * time.Millisecond

func earliest(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// free lists the mailboxes that have room, by how many connections they may have, and when the first pause ends.
func (s *Sender) free(now time.Time) (groups map[int][]string, resume time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	groups = map[int][]string{}
	for mailbox, l := range s.lanes {
		switch limit := l.limit(); {
		case l.broken != nil:
		case now.Before(l.paused):
			if resume.IsZero() || l.paused.Before(resume) {
				resume = l.paused
			}
		case l.running < limit:
			groups[limit] = append(groups[limit], mailbox)
		}
	}
	return groups, resume
}

// idle lists the mailboxes whose next job would be started at once.
func (s *Sender) idle(now time.Time) []string {
	groups, _ := s.free(now)
	var all []string
	for _, mailboxes := range groups {
		all = append(all, mailboxes...)
	}
	slices.Sort(all)
	return all
}

// limit is how many messages all workers together may send side by side.
func (l *lane) limit() int {
	limit := max(1, l.settings.Outbound.PoolSize)
	if b, ok := l.transport.(Bounded); ok {
		limit = min(limit, b.Parallel())
	}
	return l.away.narrow(limit, time.Now())
}

// start runs a claimed job, and those that follow it until ctx ends; see follow.
func (s *Sender) start(ctx, work context.Context, j Job) {
	s.mu.Lock()
	l := s.lanes[j.Mailbox]
	if l != nil {
		l.running++
	}
	s.mu.Unlock()
	if l == nil {
		s.letGo(work, j)
		return
	}
	s.jobs.Go(func() {
		for jobs := []Job{j}; len(jobs) > 0; {
			began := time.Now()
			next, err := s.run(ctx, work, l, jobs[0])
			s.finished(l, time.Since(began), err, len(next) > 0)
			jobs = next
		}
	})
}

// follow is the limit within which settling a job claims the next one of its mailbox, 0 if it is not to claim any: it would not be
// started now, or differently. A job that is claimed and not begun comes back in doubt if this process dies.
func (s *Sender) follow(ctx context.Context, l *lane, err error) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil || ctx.Err() != nil || l.retired || time.Now().Before(l.paused) {
		return 0
	}
	return l.limit()
}

// letGo gives back a job whose mailbox went away between Claim and now.
func (s *Sender) letGo(ctx context.Context, j Job) {
	v := Verdict{At: time.Now().Add(s.Options.HumanRetry), Free: true, Doubt: j.InDoubt}
	for _, to := range j.Envelope.Recipients {
		v.Later = append(v.Later, Failure{Address: to.Address, Reason: "the mailbox is not configured any more"})
	}
	s.settle(ctx, j, v, 0)
}

// rest pauses the mailbox if its next job would only meet the same refusal. It comes before Settle, or this worker would claim
// again at once what keeps its place.
func (s *Sender) rest(l *lane, err error) {
	until := s.pause(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if until.After(l.paused) {
		l.paused = until
		s.Board.change(l.settings.Mailbox, func(m *MailboxStatus) { m.PausedUntil, m.Because = until, m.public(err) })
	}
}

// finished makes room, unless another job follows.
func (s *Sender) finished(l *lane, took time.Duration, err error, followed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !followed {
		l.running--
		s.wake()
	}
	l.learnPace(took, err)
	if l.retired {
		s.retire(l)
		s.forget(l.settings.Mailbox) // its last job may have brought it back to the pages
	}
}

// pause is until when a mailbox rests that met err; zero: it goes on.
func (s *Sender) pause(err error) time.Time {
	switch {
	case err == nil:
		return time.Time{}
	case kindOf(err) == fault.Auth:
		return time.Now().Add(max(s.Options.HumanRetry, patience(err)))
	case kindOf(err) == fault.Throttled || IsUnreachable(err):
		return time.Now().Add(patience(err))
	case brokers(err) && fault.Of(err) != fault.InDoubt: // who cannot look among sent mail can send other mail
		return time.Now().Add(max(brokerRetry, patience(err)))
	}
	return time.Time{}
}

// settle records a verdict, claims the next job of the mailbox within limit unless that is 0, and says whether it could. A store
// that is away is asked again while the claim may still last: what was sent and is not recorded may be sent twice.
func (s *Sender) settle(ctx context.Context, j Job, v Verdict, limit int) (next []Job, recorded bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Options.Claim)
	defer cancel()
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		next, err := s.record(ctx, j, v, limit)
		if err == nil {
			s.Metrics.verdict(s.Protocol, j, v)
			return next, true
		}
		if errors.Is(err, ErrLost) || ctx.Err() != nil {
			s.Metrics.claimLost(s.Protocol)
			s.Log.Warn("the outcome could not be recorded; the message comes back in doubt",
				"mailbox", j.Mailbox, "id", j.ID, "protocol", s.Protocol, "error", err)
			return nil, false
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

func (s *Sender) record(ctx context.Context, j Job, v Verdict, limit int) (next []Job, err error) {
	if limit == 0 {
		return nil, s.Outbox.Settle(ctx, j, v)
	}
	return s.Outbox.SettleAndClaim(ctx, j, v, limit, s.Options.Claim)
}
