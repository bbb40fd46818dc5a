package main

import (
	"context"
	"errors"
	"fmt"

	"mailporter/kit/benchmark"
	"mailporter/sandbox/internal/stage"
)

// mostMemory is what one process may take for its mailboxes, in MiB.
const mostMemory = 512

// memory measures one worker with many mailboxes: idle, each with a connection that waits for news (IMAP IDLE), and polled (Graph).
func (b *bench) memory(ctx context.Context) (all []benchmark.Result, err error) {
	fmt.Fprintf(b.out, "\n%d mailboxes in one process, all read once:\n", crowd)
	for _, w := range []struct{ program, identity string }{{"imap-worker", "idle"}, {"graph-worker", "polled"}} {
		mebibytes, err := b.weigh(ctx, w.program, w.identity)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", w.identity, err)
		}
		all = append(all, benchmark.Against(fmt.Sprintf("%s-%d-mebibytes", w.identity, crowd), mebibytes, mostMemory))
	}
	return all, nil
}

// weigh is the memory of a worker once it has read all its mailboxes, in MiB.
func (b *bench) weigh(ctx context.Context, program, identity string) (float64, error) {
	t, err := b.trial()
	if err != nil {
		return 0, err
	}
	w, err := t.employ(ctx, program, identity)
	if err != nil {
		return 0, err
	}
	end, err := b.finished(ctx, crowd)
	if err != nil {
		return 0, errors.Join(err, stage.StopAll([]*stage.Program{w}))
	}
	use, err := w.Use()
	if err := errors.Join(err, stage.StopAll([]*stage.Program{w})); err != nil {
		return 0, err
	}
	fmt.Fprintf(b.out, "%s, %s: %.0f MiB resident, %.0f MiB at most on the way, %d sockets, after %.1fs\n",
		program, identity, mebi(use.Resident), mebi(use.Peak), use.Sockets, end.Sub(w.Began()).Seconds())
	return mebi(use.Resident), nil
}

func mebi(bytes uint64) float64 { return float64(bytes) / (1 << 20) }
