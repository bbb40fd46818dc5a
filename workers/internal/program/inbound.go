package program

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"strings"
	"sync"

	"mailporter/kit/config"
	"mailporter/kit/daemon"
	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/redact"
	"mailporter/workers/internal/setup"
)

// Inbound is a program that fetches mail over one protocol and hands it to sinks.
type Inbound struct {
	Protocol tokenclient.Protocol
	// Source makes the edge for one folder of a mailbox. It is called whenever the settings change, by many goroutines.
	Source func(m Means, s tokenclient.Settings, folder string) (inbound.Source, error)
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
		Log:   redact.Handler,
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
	b, err := open(ctx, f, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	board := &inbound.Board{}
	f.Handle("GET /mailboxes", board)
	ctx, stop := context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer stop()
	beside.Go(func() { ping(ctx, f.Health, b.store) })
	return p.fetch(ctx, b, board)
}

// fetch brings mail in until ctx ends.
func (p Inbound) fetch(ctx context.Context, b *base, board *inbound.Board) (err error) {
	sinks, err := openSinks(b.config.Sinks, b.store.Deliveries())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sinks.Close()) }()
	fleet := p.fleet(b, board)
	fleet.Sink = sinks.find
	var beside sync.WaitGroup
	defer beside.Wait()
	if peers := b.store.Peers(); peers != nil {
		fleet.Share = inbound.NewShare(peers, p.Protocol.String(), workerName(), b.frame.Log)
		if err := fleet.Share.Announce(ctx); err != nil {
			b.frame.Log.Warn("cannot see the other workers yet", "error", err)
		}
		beside.Go(func() { fleet.Share.Run(ctx) })
	}
	err = b.broker.WatchMailboxes(ctx, p.Protocol, tokenclient.Inbound, func(all []tokenclient.Settings) {
		b.frame.Log.Info("mailboxes", "count", len(all))
		fleet.Set(ctx, all)
		b.frame.Health.SetReady("broker", nil)
	})
	fleet.Wait()
	return err
}

// workerName is another one for every start: a worker that came back is not the one that died.
func workerName() string {
	host, _ := os.Hostname() // only for people
	return host + "-" + rand.Text()
}

func (p Inbound) fleet(b *base, board *inbound.Board) *inbound.Fleet {
	metrics := inbound.NewMetrics(b.frame.Metrics)
	board.Metrics = metrics
	b.frame.Handle("GET /quarantine", inbound.Listing(b.store.Quarantine()))
	b.frame.Metrics.MustRegister(inbound.Count(b.store.Quarantine()))
	return &inbound.Fleet{
		Protocol: p.Protocol.String(),
		Source: func(s tokenclient.Settings, folder string) (inbound.Source, error) {
			return p.Source(b.means(), s, folder)
		},
		Checkpoints: b.store.Checkpoints(), Quarantine: b.store.Quarantine(),
		Options: inbound.Options{Page: p.Page},
		Log:     b.frame.Log, Metrics: metrics, Board: board,
	}
}
