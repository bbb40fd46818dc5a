package inbound

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
)

// Rules are what a mailbox's settings want of the Mover.
type Rules struct {
	Cycle     time.Duration // how often the folder is looked at
	MaxSize   int64         // larger messages are quarantined, in bytes; 0 = no limit
	MaxNumber int           // most messages in one cycle; 0 = no limit
	CountJunk bool          // look into the junk folder too
}

// Options are what all Movers of a process have in common. Zero fields get defaults.
type Options struct {
	Lease  time.Duration // how long a folder stays ours when we die; 30 s
	Grace  time.Duration // what a running message may take when the process must end; 15 s
	Puts   int           // how many messages are put side by side: their fsyncs share the disk's; 32
	Page   int           // messages per page; 256
	Cycles int           // how many folders of a process are read at a time; the others wait their turn; 64
	// FirstWait is about how long a folder rests after a failure, which doubles with each that follows; 1 s.
	FirstWait time.Duration
	SpoolDir  string // for large messages; the system's temporary folder
}

func (o Options) withDefaults() Options {
	if o.Lease <= 0 {
		o.Lease = 30 * time.Second
	}
	if o.Grace <= 0 {
		o.Grace = 15 * time.Second
	}
	if o.Puts <= 0 {
		o.Puts = 32
	}
	if o.Page <= 0 {
		o.Page = 256
	}
	if o.Cycles <= 0 {
		o.Cycles = 64
	}
	if o.FirstWait <= 0 {
		o.FirstWait = time.Second
	}
	return o
}

// A Mover moves the mail of one folder, for as long as Run runs. Nothing of it may change meanwhile.
type Mover struct {
	Folder      mail.Folder
	Protocol    string // for labels: IMAP
	Source      Source
	Sink        Sink
	Checkpoints Checkpoints
	Quarantine  Quarantine
	Share       *Share // nil = every folder is this worker's
	Rules       Rules
	Options     Options
	Turns       chan struct{} // has room for as many as may run a cycle at a time; nil = any number
	Log         *slog.Logger
	Metrics     *Metrics
	Status      *Status

	failures int             // attempts in a row that failed
	planned  int             // sessions in a row that ended with their token
	unrest   int             // waits for new mail in a row that failed, whatever became of the cycles between them
	stubborn map[string]int  // by Item.Key: passes in a row that could not get this message through
	carried  map[handle]bool // what the sink has of a page that is not done
}

// Run moves mail until ctx ends; then the running messages end, and the lease goes to the next worker.
func (m *Mover) Run(ctx context.Context) {
	m.Options = m.Options.withDefaults()
	m.stubborn = map[string]int{}
	m.Log = m.Log.With("mailbox", m.Folder.Mailbox, "folder", m.Folder.Name, "protocol", m.Protocol)
	for ctx.Err() == nil {
		if !m.Share.Mine(m.Folder) {
			m.Status.elsewhere()
			if m.Share.await(ctx, m.Folder); ctx.Err() != nil {
				break
			}
		}
		lease, err := m.Checkpoints.Lease(ctx, m.Folder, m.Options.Lease)
		switch {
		case err == nil:
			m.hold(ctx, lease)
		case errors.Is(err, ErrLeased):
			m.Status.elsewhere()
			pause(ctx, m.Options.Lease/10)
		case ctx.Err() == nil:
			pause(ctx, m.failed(err))
		}
	}
	m.Status.stopped()
}

// hold works under one lease.
func (m *Mover) hold(ctx context.Context, l Lease) {
	ctx, stop := m.Share.while(ctx, m.Folder)
	defer stop()
	h := keep(ctx, l, m.Options.Lease, m.Options.Grace)
	for h.next.Err() == nil {
		m.turn(h)
	}
	if h.lost() {
		m.Metrics.leaseLost(m.Protocol)
		m.Log.Warn("the lease was lost; another worker may have the folder")
	}
	if err := errors.Join(m.Source.Close(), h.release()); err != nil {
		m.Log.Debug("end of a lease", "error", err)
	}
}

// turn is one cycle and the wait after it.
func (m *Mover) turn(h *hold) {
	if !m.enter(h.next) {
		return
	}
	m.Status.begin()
	full, err := m.cycle(h)
	if y, ok := m.Source.(Yielder); ok {
		y.Yield()
	}
	m.leave()
	switch {
	case h.next.Err() != nil:
		return
	case errors.Is(err, ErrSessionOver) && m.planned < 3:
		m.planned++ // with fresh tokens that end at once it would spin: then it counts as an error
		m.Metrics.reconnect(m.Protocol)
	case err != nil:
		pause(h.next, m.failed(err))
	default:
		m.succeeded(h)
		m.rest(h, full)
	}
}

// enter waits for this folder's turn; false: ctx ended.
func (m *Mover) enter(ctx context.Context) bool {
	if m.Turns == nil {
		return true
	}
	select {
	case m.Turns <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

func (m *Mover) leave() {
	if m.Turns != nil {
		<-m.Turns
	}
}

// succeeded notes a cycle that reached the end of the folder, or its limit.
func (m *Mover) succeeded(h *hold) {
	if m.failures > 0 {
		m.Log.Info("works again", "failed_attempts", m.failures)
	}
	m.failures, m.planned = 0, 0
	m.Metrics.cycle(m.Protocol, "ok")
	m.Status.succeeded(time.Now().Add(m.Rules.Cycle))
	m.countJunk(h)
}

// failed notes err and says how long to wait.
func (m *Mover) failed(err error) time.Duration {
	m.failures++
	m.planned = 0
	wait := backoff(m.Options.FirstWait, m.failures, err)
	f := describe(err)
	m.Metrics.cycle(m.Protocol, f.Kind)
	m.Status.failed(f, time.Now().Add(wait))
	level := slog.LevelWarn
	if f.Kind == fault.Auth.String() || needsHuman(err) {
		level = slog.LevelError // somebody must act
	}
	m.Log.Log(context.Background(), level, "cannot read the folder", "kind", f.Kind, "reason", f.Reason, "remedy", f.Remedy,
		"error", err, "next_attempt_in", wait.Round(time.Millisecond).String())
	return wait
}

// maxUnrest is how many waits for new mail may fail in a row before a cycle is waited for by the clock.
const maxUnrest = 3

// rest waits for new mail or the next cycle. After a full cycle there is mail waiting already: the limit is per cycle. A server
// that ends the session whenever it is waited on is polled, and tried once a cycle: the cycles between would succeed, and
// the next connection follow at once, for ever.
func (m *Mover) rest(h *hold, full bool) {
	w, ok := m.Source.(Waiter)
	if !ok || full || m.unrest > maxUnrest {
		m.unrest = min(m.unrest, maxUnrest)
		pause(h.next, m.Rules.Cycle)
		return
	}
	err := w.Wait(h.next, m.Rules.Cycle)
	if err == nil || h.next.Err() != nil {
		m.unrest = 0
		return
	}
	m.unrest++
	if errors.Is(err, ErrSessionOver) && m.unrest <= maxUnrest {
		m.planned++
		m.Metrics.reconnect(m.Protocol)
		return
	}
	pause(h.next, m.failed(err))
}

// countJunk looks into the junk folder. Its failure is told, but stops nothing.
func (m *Mover) countJunk(h *hold) {
	c, ok := m.Source.(JunkCounter)
	if !ok || !m.Rules.CountJunk {
		return
	}
	n, oldest, err := c.CountJunk(h.next)
	if err != nil {
		m.Log.Warn("cannot count the junk folder", "kind", fault.Of(err).String(), "error", err)
		return
	}
	m.Status.junk(n, oldest)
}
