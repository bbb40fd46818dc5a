package main

import (
	"context"
	"fmt"
	"text/tabwriter"
	"time"

	"mailporter/kit/benchmark"

	"google.golang.org/grpc"
)

const (
	mailboxes         = 10_000
	callersPerChannel = 16  // that share a connection
	leastRate         = 0.8 // of the bare server's calls
	mostP99           = 1.5 // times the bare server's
)

var callerCounts = []int{16, 64, 256}

// acquire compares the broker with a bare server.
func acquire(ctx context.Context, st *stage, o options) (_ []benchmark.Result, err error) {
	first := len(st.processes)
	ours, limit, err := st.contenders(ctx)
	if err != nil {
		return nil, err
	}
	table := tabwriter.NewWriter(st.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(st.out, "AcquireToken over mutual TLS with policy, audit file and metrics, and a bare gRPC server that answers the same:")
	fmt.Fprintln(table, "callers\tcalls/s\tbare\tratio\tp99\tbare\tratio\tserver CPU/call\tbare\t")
	var all []benchmark.Result
	for _, callers := range callerCounts {
		pairs, err := duel(ctx, ours, limit, callers, o)
		if err != nil {
			return nil, err
		}
		rate, p99, cpu := pairs.compare(slice.callsPerSecond), pairs.compare(slice.p99Micros), pairs.compare(slice.cpuMicros)
		fmt.Fprintf(table, "%d\t%s\t%s\t%.2f\t%s\t%s\t%.2f\t%s\t%s\t\n", callers, benchmark.Number(rate.Ours), benchmark.Number(rate.Limit), rate.Ratio,
			micro(p99.Ours), micro(p99.Limit), p99.Ratio, micro(cpu.Ours), micro(cpu.Limit))
		rate.Name, rate.Target = fmt.Sprintf("acquire-%d-calls-per-second", callers), leastRate
		p99.Name, p99.Target, p99.AtMost = fmt.Sprintf("acquire-%d-p99-microseconds", callers), mostP99, true
		all = append(all, rate, p99)
	}
	if err := table.Flush(); err != nil {
		return nil, err
	}
	hangUp(ours.conns)
	hangUp(limit.conns)
	return all, st.stopSince(first)
}

// contender is a side with the connections for the most callers.
type contender struct {
	side
	conns []*grpc.ClientConn
}

// contenders starts both servers. The bare one answers as long a token as the broker's.
func (st *stage) contenders(ctx context.Context) (ours, limit contender, err error) {
	glob, err := st.writeMailboxes("acquire", mailboxes, mailboxes)
	if err != nil {
		return ours, limit, err
	}
	b, err := st.startBroker(ctx, "broker", "file:"+st.path("state"), glob)
	if err != nil {
		return ours, limit, err
	}
	if ours, err = st.contender(ctx, b.process, b.port); err != nil {
		return ours, limit, err
	}
	answer, err := ours.clients[0].AcquireToken(ctx, ask(0))
	if err != nil {
		return ours, limit, fmt.Errorf("the first token: %w", err)
	}
	p, port, err := st.startEcho(ctx, len(answer.GetAccessToken().GetValue()))
	if err != nil {
		return ours, limit, err
	}
	limit, err = st.contender(ctx, p, port)
	return ours, limit, err
}

func (st *stage) contender(ctx context.Context, p *process, port int) (contender, error) {
	conns, err := st.dial(ctx, port, callerCounts[len(callerCounts)-1]/callersPerChannel)
	return contender{side{p, clients(conns)}, conns}, err
}

// with is the side with as many connections as the callers need.
func (c contender) with(callers int) side {
	return side{c.server, c.clients[:max(1, callers/callersPerChannel)]}
}

// pairs are slices of both sides that followed each other.
type pairs [][2]slice // ours, limit

// duel measures both in turns, after a slice of each that does not count.
func duel(ctx context.Context, ours, limit contender, callers int, o options) (pairs, error) {
	sides := [2]side{ours.with(callers), limit.with(callers)}
	all := make(pairs, o.pairs)
	for turn := -1; turn < o.pairs; turn++ {
		var pair [2]slice
		for n := range sides {
			i := (n + turn + 1) % 2 // the first of this pair is the last of the one before
			var err error
			if pair[i], err = sides[i].askFor(ctx, callers, mailboxes, o.slice); err != nil {
				return nil, err
			}
		}
		if turn >= 0 {
			all[turn] = pair
		}
	}
	return all, nil
}

// compare is the median of what a number was on each side, and the median of the ratios within the pairs.
func (p pairs) compare(number func(slice) float64) benchmark.Result {
	var ours, limit []float64
	for _, pair := range p {
		ours, limit = append(ours, number(pair[0])), append(limit, number(pair[1]))
	}
	return benchmark.Compare(ours, limit)
}

func (s slice) callsPerSecond() float64 { return s.rate }
func (s slice) p99Micros() float64      { return float64(s.p99.Microseconds()) }
func (s slice) cpuMicros() float64      { return float64(s.cpu.Microseconds()) }

func micro(v float64) string { return (time.Duration(v) * time.Microsecond).String() }
