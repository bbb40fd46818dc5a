package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"mailporter/kit/daemon"
	"mailporter/kit/tokenclient"
	intake "mailporter/workers/internal/intake/smtp"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/setup"
	"mailporter/workers/internal/smtp"
)

// run serves until ctx ends; then messages that are coming in are taken, and transactions that run end.
func run(ctx context.Context, f *daemon.Frame, c setup.Config) (err error) {
	f.Health.Expect("broker", "intake", "state")
	store, err := c.State.Open(ctx, f.Log)
	if err != nil {
		return fmt.Errorf("open state: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	broker, err := c.Dial(f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, broker.Close()) }()
	w := &worker{frame: f, config: c, outbox: store.Outbox(), broker: broker}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var parts sync.WaitGroup
	parts.Go(func() { ping(ctx, f.Health, store) })
	w.serve(ctx, &parts, stop)
	parts.Wait()
	return context.Cause(ctx)
}

// worker is what the parts of the program share.
type worker struct {
	frame  *daemon.Frame
	config setup.Config
	outbox outbound.Outbox
	broker *tokenclient.Client
}

// serve starts the door, the sender and the watch over mailboxes. stop is called with what must not happen.
func (w *worker) serve(ctx context.Context, parts *sync.WaitGroup, stop context.CancelCauseFunc) {
	var senders intake.Senders
	sender := w.sender()
	parts.Go(func() { sender.Run(ctx) })
	parts.Go(func() {
		if err := w.door(ctx, &senders); err != nil {
			stop(fmt.Errorf("intake: %w", err))
		}
	})
	parts.Go(func() {
		// Only the end of ctx ends the watch.
		_ = w.broker.WatchMailboxes(ctx, tokenclient.SMTP, tokenclient.Outbound, func(all []tokenclient.Settings) {
			w.frame.Log.Info("mailboxes", "count", len(all))
			sender.Set(all)
			senders.Set(all)
			w.frame.Health.SetReady("broker", nil)
		})
	})
}

func (w *worker) sender() *outbound.Sender {
	board := &outbound.Board{}
	w.frame.Handle("GET /mailboxes", board)
	w.frame.Handle("GET /outbox", outbound.Listing(w.outbox))
	shared := smtp.Config{Roots: w.config.Roots, Hello: w.config.Intake.Hostname}
	return &outbound.Sender{
		Protocol: tokenclient.SMTP.String(),
		Outbox:   w.outbox,
		Transport: func(s tokenclient.Settings) (outbound.Transport, error) {
			t, err := smtp.New(shared, s, w.broker)
			if err != nil {
				return nil, err // not t: a nil *Transport is no nil Transport
			}
			return t, nil
		},
		Options: outbound.Options{GiveUp: w.config.Retry.GiveUp},
		Log:     w.frame.Log,
		Metrics: outbound.NewMetrics(w.frame.Metrics, w.outbox),
		Board:   board,
	}
}

// door takes mail in until ctx ends.
func (w *worker) door(ctx context.Context, senders *intake.Senders) error {
	c, err := w.doorConfig(ctx)
	if err != nil {
		return err
	}
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", w.config.Intake.Listen)
	if ctx.Err() != nil {
		return nil // told to stop before it began
	}
	if err != nil {
		return err
	}
	w.frame.Log.Info("taking mail in", "address", l.Addr().String())
	w.frame.Health.SetReady("intake", nil)
	return intake.New(c, w.outbox, senders).Serve(ctx, l)
}

func (w *worker) doorConfig(ctx context.Context) (intake.Config, error) {
	in := w.config.Intake
	c := intake.Config{
		Hostname: in.Hostname, Allow: in.Allow, ImplicitTLS: in.ImplicitTLS,
		MaxSize: in.MaximumSize, MaxRecipients: in.MaximumRecipients, NullSender: in.NullSender, Log: w.frame.Log,
	}
	for _, u := range in.Users {
		c.Users = append(c.Users, intake.User{Name: u.Name, Password: u.Password})
	}
	if in.TLS.Certificate == "" {
		return c, nil
	}
	var err error
	c.TLS, err = doorTLS(ctx, w.frame, in.TLS)
	return c, err
}

// pingEvery is how often the state is asked whether it works.
const pingEvery = 5 * time.Second

// ping keeps /readyz up to date about the state until ctx ends.
func ping(ctx context.Context, h *daemon.Health, store setup.Store) {
	t := time.NewTicker(pingEvery)
	defer t.Stop()
	for {
		h.SetReady("state", store.Ping())
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}
