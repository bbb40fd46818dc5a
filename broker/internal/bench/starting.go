package main

import (
	"context"
	"fmt"
	"time"
)

const (
	crowd       = 100_000 // mailboxes
	crowdFiles  = 10
	crowdStarts = 3
	mostReady   = 5 * time.Second
	mostMemory  = 1 << 30
)

// starting measures how long a broker of many mailboxes takes to be ready, and the most memory that it has needed by then
// and after its first token.
func starting(ctx context.Context, st *stage, _ options) ([]result, error) {
	glob, err := st.writeMailboxes("crowd", crowd, crowd/crowdFiles)
	if err != nil {
		return nil, err
	}
	var seconds, peaks []float64
	for i := range crowdStarts {
		ready, peak, err := st.startOnce(ctx, fmt.Sprintf("crowd-%d", i), glob)
		if err != nil {
			return nil, err
		}
		seconds, peaks = append(seconds, ready.Seconds()), append(peaks, peak)
	}
	fmt.Fprintf(st.out, "\n%d mailboxes with two sides each: ready after %.2f s, at most %.0f MiB resident (medians of %d starts)\n\n",
		crowd, median(seconds), median(peaks)/(1<<20), crowdStarts)
	return []result{
		against("start-100000-seconds", median(seconds), mostReady.Seconds()),
		against("start-100000-mebibytes", median(peaks)/(1<<20), mostMemory/(1<<20)),
	}, nil
}

func (st *stage) startOnce(ctx context.Context, name, glob string) (ready time.Duration, peak float64, err error) {
	first := len(st.processes)
	b, err := st.startBroker(ctx, name, "file:"+st.path(name+"-state"), glob)
	if err != nil {
		return 0, 0, err
	}
	conns, err := st.dial(ctx, b.port, 1)
	if err != nil {
		return 0, 0, err
	}
	defer hangUp(conns)
	if _, err := clients(conns)[0].AcquireToken(ctx, ask(crowd-1)); err != nil {
		return 0, 0, err
	}
	_, most, err := b.memory()
	if err != nil {
		return 0, 0, err
	}
	return b.ready, float64(most), st.stopSince(first)
}
