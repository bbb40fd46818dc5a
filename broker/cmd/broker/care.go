package main

import (
	"context"
	"sync"
	"time"

	"mailporter/broker/internal/directory"
	"mailporter/broker/internal/keeper"
	"mailporter/kit/daemon"
)

// care keeps idle refresh tokens alive, unless every is 0, and says when a person must act, until ctx ends.
func care(ctx context.Context, f *daemon.Frame, every time.Duration, d *directory.Directory, k *keeper.Keeper) *sync.WaitGroup {
	var running sync.WaitGroup
	r := newRadar(d, k)
	f.Metrics.MustRegister(r)
	running.Go(func() { r.run(ctx, f.Log) })
	if every > 0 {
		running.Go(func() { k.KeepAlive(ctx, every, func() []keeper.Wish { return wishes(d.Now()) }) })
	}
	return &running
}

// wishes are one for each credential that is configured.
func wishes(c *directory.Config) (all []keeper.Wish) {
	known := map[string]bool{}
	for _, box := range c.Mailboxes {
		for _, s := range box.Sides() {
			if s.Credential != nil && !known[s.Credential.ID] {
				known[s.Credential.ID] = true
				all = append(all, keeper.Wish{Credential: s.Credential, Audience: s.Audience, Margin: s.Margin})
			}
		}
	}
	return all
}
