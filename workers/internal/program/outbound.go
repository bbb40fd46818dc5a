package program

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"mailporter/kit/config"
	"mailporter/kit/daemon"
	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/intake"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/redact"
	"mailporter/workers/internal/report"
	"mailporter/workers/internal/setup"
)

// Outbound is a program that takes mail in, keeps it in an outbox, and sends it over one protocol.
type Outbound struct {
	Protocol tokenclient.Protocol
	// Transport makes the edge for one mailbox. It is called whenever the settings change.
	Transport func(m Means, s tokenclient.Settings) (outbound.Transport, error)
	// SentItems makes what looks among a mailbox's sent mail, for a protocol that cannot tell by itself; nil: it can. s is the
	// inbound side of the mailbox, folder empty = the one that the server marks.
	SentItems func(m Means, s tokenclient.Settings, folder string) (outbound.SentFinder, error)
}

// App is the program: smtp-worker for SMTP.
func (p Outbound) App() daemon.App[setup.Config] {
	return daemon.App[setup.Config]{
		Name:  name(p.Protocol),
		About: "takes mail from programs, keeps it in a durable outbox, and sends it over " + longName(p.Protocol),
		Load:  func(path string) (setup.Config, config.Complaints) { return setup.Load(path, setup.Outbound) },
		Admin: func(c setup.Config) string { return c.Admin },
		Run:   p.run,
		Log:   redact.Handler,
	}
}

// run serves until ctx ends; then messages that are coming in are taken, and transactions that run end.
func (p Outbound) run(ctx context.Context, f *daemon.Frame, c setup.Config) (err error) {
	f.Health.Expect("broker", "intake", "senders", "state")
	b, err := open(ctx, f, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	board := &outbound.Board{}
	f.Handle("GET /mailboxes", board)
	ctx, stop := context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer stop()
	beside.Go(func() { ping(ctx, f.Health, b.store) })
	return p.send(ctx, b, board)
}

// send takes mail in and sends it until ctx ends.
func (p Outbound) send(ctx context.Context, b *base, board *outbound.Board) error {
	w := &sending{Outbound: p, base: b, outbox: b.store.Outbox(), ledger: b.store.Ledger(), board: board, arrivals: newArrivals(b.frame.Metrics)}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var parts sync.WaitGroup
	w.serve(ctx, &parts, stop)
	parts.Wait()
	return context.Cause(ctx)
}

// sending is what the parts of a running Outbound share.
type sending struct {
	Outbound
	*base
	outbox outbound.Outbox
	ledger outbound.Ledger
	board  *outbound.Board

	arrivals *prometheus.CounterVec
}

// serve starts the door, the sender and the watch over mailboxes. stop is called with what must not happen.
func (w *sending) serve(ctx context.Context, parts *sync.WaitGroup, stop context.CancelCauseFunc) {
	var senders intake.Senders
	sender := w.sender()
	parts.Go(func() { sender.Run(ctx) })
	parts.Go(func() {
		if err := w.doors(ctx, &senders); err != nil {
			stop(fmt.Errorf("intake: %w", err))
		}
	})
	parts.Go(func() {
		// Only the end of ctx ends the watch.
		_ = w.broker.WatchMailboxes(ctx, w.Protocol, tokenclient.Outbound, func(all []tokenclient.Settings) {
			w.frame.Log.Info("mailboxes", "count", len(all))
			sender.Set(all)
			senders.Set(all)
			w.frame.Health.SetReady("broker", nil)
			w.frame.Health.SetReady("senders", nil) // before that the intake turns everybody away for now
		})
	})
}

func (w *sending) sender() *outbound.Sender {
	outbound.Operate(w.frame.Handle, w.outbox, w.board)
	s := &outbound.Sender{
		Protocol:  w.Protocol.String(),
		Outbox:    w.outbox,
		Ledger:    w.ledger,
		Transport: func(s tokenclient.Settings) (outbound.Transport, error) { return w.Transport(w.means(), s) },
		SentItems: w.sentItems,
		Reporter:  w.reporter(),

		ReportsThrough: w.config.Reports.Through,

		Options: outbound.Options{GiveUp: w.config.Retry.GiveUp, DelayAfter: w.config.Reports.DelayAfter},
		Log:     w.frame.Log,
		Metrics: outbound.NewMetrics(w.frame.Metrics, w.outbox),
		Board:   w.board,
	}
	w.frame.Metrics.MustRegister(s.Waiting())
	return s
}

// sentItems is nil where nobody asked for it.
func (w *sending) sentItems(s tokenclient.Settings) (outbound.SentFinder, error) {
	if w.SentItems == nil || s.Outbound.SentItems == nil {
		return nil, nil
	}
	return w.SentItems(w.means(), s.SentItemsSide(), s.Outbound.SentItems.Folder)
}

// reporter writes what senders are told; nil: they are told nothing.
func (w *sending) reporter() outbound.Reporter {
	if !w.config.Reports.Wanted {
		return nil
	}
	return report.Writer{Hostname: w.config.Intake.Hostname, To: w.config.Reports.Address, Name: w.config.Reports.Name}
}
