package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
	"mailporter/kit/benchmark"
)

const (
	crowd       = 100_000 // mailboxes
	crowdFiles  = 10
	crowdStarts = 3
	mostReady   = 5 * time.Second
	mostMemory  = 1024 // MiB
	mebibyte    = 1 << 20
)

// starting measures how long a broker of many mailboxes takes to be ready, and the most memory that it needs, with a first
// token and a change of the configuration, while which it holds both.
func starting(ctx context.Context, st *stage, _ options) ([]benchmark.Result, error) {
	glob, err := st.writeMailboxes("crowd", crowd, crowd/crowdFiles)
	if err != nil {
		return nil, err
	}
	var ready, reload, usual, most []float64
	for i := range crowdStarts {
		s, err := st.startOnce(ctx, fmt.Sprintf("crowd-%d", i), glob)
		if err != nil {
			return nil, err
		}
		ready, reload = append(ready, s.ready.Seconds()), append(reload, s.reload.Seconds())
		usual, most = append(usual, float64(s.usual)/mebibyte), append(most, float64(s.most)/mebibyte)
	}
	fmt.Fprintf(st.out, "\n%d mailboxes with two sides each: ready after %.2f s with %.0f MiB resident; a changed file is taken up after %.2f s; at most %.0f MiB (medians of %d starts)\n\n",
		crowd, benchmark.Median(ready), benchmark.Median(usual), benchmark.Median(reload), benchmark.Median(most), crowdStarts)
	return []benchmark.Result{
		benchmark.Against("start-100000-seconds", benchmark.Median(ready), mostReady.Seconds()),
		benchmark.Against("start-100000-mebibytes", benchmark.Median(most), mostMemory),
	}, nil
}

// started is what one start took.
type started struct {
	ready, reload time.Duration
	usual, most   uint64 // bytes resident after the first token, and ever
}

func (st *stage) startOnce(ctx context.Context, name, glob string) (s started, err error) {
	first := len(st.processes)
	b, err := st.startBroker(ctx, name, "file:"+st.path(name+"-state"), glob)
	if err != nil {
		return s, err
	}
	conns, err := st.dial(ctx, b.port, 1)
	if err != nil {
		return s, err
	}
	defer hangUp(conns)
	c := clients(conns)[0]
	if _, err := c.AcquireToken(ctx, ask(crowd-1)); err != nil {
		return s, err
	}
	if s.usual, _, err = b.memory(); err != nil {
		return s, err
	}
	if s.reload, err = st.change(ctx, c); err != nil {
		return s, err
	}
	_, s.most, err = b.memory()
	s.ready = b.ready
	return s, errors.Join(err, st.stopSince(first))
}

// change adds a file with one mailbox more, and returns when the broker served it.
func (st *stage) change(ctx context.Context, c brokerv1.TokenServiceClient) (time.Duration, error) {
	const name = "crowd/one-more.yaml"
	began := time.Now()
	if err := st.write(name, fmt.Appendf(nil, "mailboxes: [{address: %s, application: contoso, pop-client: {}}]\n", address(crowd))); err != nil {
		return 0, err
	}
	defer os.Remove(st.path(name))
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for {
		_, err := c.AcquireToken(ctx, ask(crowd))
		if err == nil {
			return time.Since(began), nil
		}
		select {
		case <-time.After(4 * look):
		case <-ctx.Done():
			return 0, fmt.Errorf("a changed file is not taken up: %w", err)
		}
	}
}
