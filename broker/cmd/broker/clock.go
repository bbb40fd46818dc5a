package main

import (
	"context"
	"sync"
	"time"

	"mailporter/broker/internal/clock"
	"mailporter/broker/internal/directory"
	"mailporter/broker/internal/store/redis"
	"mailporter/kit/daemon"
)

// guardClock compares this machine's clock with Redis's, if the store is one, until ctx ends. What providers say comes
// with their answers.
func guardClock(ctx context.Context, d *directory.Directory, st store, f *daemon.Frame) (*clock.Guard, *sync.WaitGroup) {
	ask := map[string]func(context.Context) (time.Time, error){}
	if s, ok := st.(*redis.Store); ok {
		ask["redis"] = s.Time
	}
	g := clock.New(clock.Config{Margin: func() time.Duration { return d.Now().SmallestMargin() }, Ask: ask, Log: f.Log, Metrics: f.Metrics})
	var running sync.WaitGroup
	running.Go(func() { g.Run(ctx) })
	return g, &running
}
