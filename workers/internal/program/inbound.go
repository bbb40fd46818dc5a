package program

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"mailporter/kit/config"
	"mailporter/kit/daemon"
	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/setup"
)

// Inbound is a program that fetches mail over one protocol and hands it to sinks.
type Inbound struct {
	Protocol tokenclient.Protocol
	// Source makes the edge for one folder of a mailbox. It is called whenever the settings change, by many goroutines.
	Source func(c setup.Config, b tokenclient.Broker, s tokenclient.Settings, folder string) (inbound.Source, error)
	Page   int // messages per page; 0 = the engine's own number
}

// App is the program: imap-worker for IMAP.
func (p Inbound) App() daemon.App[setup.Config] {
	return daemon.App[setup.Config]{
		Name:  name(p.Protocol),
		About: "fetches mail over " + longName(p.Protocol) + " and hands it to sinks",
		Load:  func(path string) (setup.Config, config.Complaints) { return setup.Load(path, setup.Inbound) },
		Admin: func(c setup.Config) string { return c.Admin },
		Run:   p.run,
	}
}

// longName is a protocol's as people know it.
func longName(p tokenclient.Protocol) string {
	switch p {
	case tokenclient.Graph:
		return "Microsoft Graph"
	case tokenclient.EWS:
		return "Exchange Web Services"
	}
	return p.String()
}

func name(p tokenclient.Protocol) string { return strings.ToLower(p.String()) + "-worker" }

// run serves until ctx ends; then the messages that are on their way arrive, and the leases are given back.
func (p Inbound) run(ctx context.Context, f *daemon.Frame, c setup.Config) (err error) {
	f.Health.Expect("broker")
	store, err := c.State.Open(ctx, f.Log)
	if err != nil {
		return fmt.Errorf("open state: %w", err)
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	sinks, err := openSinks(c.Sinks, store.Deliveries())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sinks.Close()) }()
	broker, err := c.Dial(f)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, broker.Close()) }()
	fleet := p.fleet(f, c, broker, store)
	fleet.Sink = sinks.find
	var beside sync.WaitGroup
	defer beside.Wait()
	beside.Go(func() { ping(ctx, f.Health, store) })
	if peers := store.Peers(); peers != nil {
		fleet.Share = inbound.NewShare(peers, p.Protocol.String(), workerName(), f.Log)
		if err := fleet.Share.Announce(ctx); err != nil {
			f.Log.Warn("cannot see the other workers yet", "error", err)
		}
		beside.Go(func() { fleet.Share.Run(ctx) })
	}
	err = broker.WatchMailboxes(ctx, p.Protocol, tokenclient.Inbound, func(all []tokenclient.Settings) {
		f.Log.Info("mailboxes", "count", len(all))
		fleet.Set(ctx, all)
		f.Health.SetReady("broker", nil)
	})
	fleet.Wait()
	return err
}

// workerName is another one for every start: a worker that came back is not the one that died.
func workerName() string {
	host, _ := os.Hostname() // only for people
	return host + "-" + rand.Text()
}

func (p Inbound) fleet(f *daemon.Frame, c setup.Config, broker tokenclient.Broker, store setup.Store) *inbound.Fleet {
	metrics := inbound.NewMetrics(f.Metrics)
	board := &inbound.Board{Metrics: metrics}
	f.Handle("GET /mailboxes", board)
	f.Handle("GET /quarantine", inbound.Listing(store.Quarantine()))
	f.Metrics.MustRegister(inbound.Count(store.Quarantine()))
	return &inbound.Fleet{
		Protocol: p.Protocol.String(),
		Source: func(s tokenclient.Settings, folder string) (inbound.Source, error) {
			return p.Source(c, broker, s, folder)
		},
		Checkpoints: store.Checkpoints(), Quarantine: store.Quarantine(),
		Options: inbound.Options{Page: p.Page},
		Log:     f.Log, Metrics: metrics, Board: board,
	}
}
