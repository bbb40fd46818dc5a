package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"mailporter/kit/daemon"
	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/imap"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/setup"
	"mailporter/workers/internal/sink/maildir"
)

// run serves until ctx ends; then the messages that are on their way arrive, and the leases are given back.
func run(ctx context.Context, f *daemon.Frame, c setup.Config) (err error) {
	f.Health.Expect("broker")
	sinks, err := openSinks(c.Sinks)
	if err != nil {
		return err
	}
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
	metrics := inbound.NewMetrics(f.Metrics)
	board := &inbound.Board{Metrics: metrics}
	f.Handle("GET /mailboxes", board)
	fleet := &inbound.Fleet{
		Protocol: tokenclient.IMAP.String(),
		Source: func(s tokenclient.Settings, folder string) (inbound.Source, error) {
			return imap.New(imap.Config{Settings: s, Folder: folder, Broker: broker, Roots: c.Roots})
		},
		Sink:        sinks.find,
		Checkpoints: store.Checkpoints(), Quarantine: store.Quarantine(),
		Log: f.Log, Metrics: metrics, Board: board,
	}
	pinged := make(chan struct{})
	go func() { defer close(pinged); ping(ctx, f.Health, store) }()
	err = broker.WatchMailboxes(ctx, tokenclient.IMAP, tokenclient.Inbound, func(all []tokenclient.Settings) {
		f.Log.Info("mailboxes", "count", len(all))
		fleet.Set(ctx, all)
		f.Health.SetReady("broker", nil)
	})
	fleet.Wait()
	<-pinged
	return err
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

// sinks are the places to deliver to, by the names that deliver-to may have.
type sinks map[string]inbound.Sink

func openSinks(all map[string]setup.Sink) (sinks, error) {
	opened := sinks{}
	for name, s := range all {
		m, err := maildir.New(s.Maildir)
		if err != nil {
			return nil, fmt.Errorf("sink %s: %w", name, err)
		}
		opened[name] = m
	}
	return opened, nil
}

// find is for a mailbox's deliver-to.
func (s sinks) find(name string) (inbound.Sink, error) {
	if name == "" {
		name = "default"
	}
	if sink, ok := s[name]; ok {
		return sink, nil
	}
	var names []string
	for n := range s {
		names = append(names, n)
	}
	slices.Sort(names)
	return nil, fmt.Errorf("deliver-to %q: this worker has no such sink; it has %s", name, strings.Join(names, ", "))
}
