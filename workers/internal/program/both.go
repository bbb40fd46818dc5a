package program

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"

	"mailporter/kit/config"
	"mailporter/kit/daemon"
	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/redact"
	"mailporter/workers/internal/setup"
)

// Both is a program that fetches mail over one protocol and sends mail over the same, in one process with one state and
// one broker. Its file decides: with sinks it fetches, with an intake it sends.
type Both struct {
	Protocol  tokenclient.Protocol
	Source    func(m Means, s tokenclient.Settings, folder string) (inbound.Source, error) // as Inbound's
	Transport func(m Means, s tokenclient.Settings) (outbound.Transport, error)            // as Outbound's
}

// App is the program: graph-worker for Graph.
func (p Both) App() daemon.App[setup.Config] {
	return daemon.App[setup.Config]{
		Name:  name(p.Protocol),
		About: "fetches mail over " + longName(p.Protocol) + " and hands it to sinks; takes mail from programs and sends it",
		Load:  func(path string) (setup.Config, config.Complaints) { return setup.Load(path, setup.Both) },
		Admin: func(c setup.Config) string { return c.Admin },
		Run:   p.run,
		Log:   redact.Handler,
	}
}

// half is one of the directions: it runs until ctx ends.
type half func(ctx context.Context, b *base) error

// run serves until ctx ends, or until one half cannot go on: then the other ends in order.
func (p Both) run(ctx context.Context, f *daemon.Frame, c setup.Config) (err error) {
	f.Health.Expect("broker", "state")
	b, err := open(ctx, f, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.close()) }()
	halves := p.halves(b)
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var parts sync.WaitGroup
	parts.Go(func() { ping(ctx, f.Health, b.store) })
	for _, run := range halves {
		parts.Go(func() { stop(run(ctx, b)) })
	}
	parts.Wait()
	return context.Cause(ctx)
}

// halves are those that the file wants; the status page shows all of them.
func (p Both) halves(b *base) (all []half) {
	var page statuses
	if b.config.Fetches() {
		board := &inbound.Board{}
		page = append(page, func(context.Context) any { return board.List() })
		all = append(all, func(ctx context.Context, b *base) error {
			return Inbound{Protocol: p.Protocol, Source: p.Source}.fetch(ctx, b, board)
		})
	}
	if b.config.Sends() {
		b.frame.Health.Expect("intake", "senders")
		board := &outbound.Board{}
		page = append(page, func(ctx context.Context) any { return board.Overview(ctx) })
		all = append(all, func(ctx context.Context, b *base) error {
			return Outbound{Protocol: p.Protocol, Transport: p.Transport}.send(ctx, b, board)
		})
	}
	b.frame.Handle("GET /mailboxes", page)
	return all
}

// statuses are the lists that make up one status page.
type statuses []func(context.Context) any

// ServeHTTP answers with all entries of all lists as one of JSON.
func (s statuses) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	all := []json.RawMessage{}
	for _, list := range s {
		b, err := json.Marshal(list(r.Context()))
		var some []json.RawMessage
		if err := errors.Join(err, json.Unmarshal(b, &some)); err != nil {
			http.Error(w, "the status cannot be shown", http.StatusInternalServerError)
			return
		}
		all = append(all, some...)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(all) // the client went away
}
