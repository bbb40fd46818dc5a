package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
	"mailporter/kit/benchmark"
)

const (
	coldCallers     = 10_000
	coldReplicas    = 3
	coldConnections = 10 // to each replica
)

// cold lets callers of as many mailboxes, all of one application, ask three brokers at once for a token that none has yet,
// and counts the token requests that the provider sees.
func cold(ctx context.Context, st *stage, _ options) ([]benchmark.Result, error) {
	first := len(st.processes)
	fleet, err := st.fleet(ctx)
	if err != nil {
		return nil, err
	}
	defer hangUp(fleet)
	before, err := st.tokenRequests(ctx)
	if err != nil {
		return nil, err
	}
	took, err := stampede(ctx, clients(fleet), coldCallers)
	if err != nil {
		return nil, err
	}
	after, err := st.tokenRequests(ctx)
	if err != nil {
		return nil, err
	}
	n := after - before
	fmt.Fprintf(st.out, "\n%d callers at once, %d brokers, one Redis, no token yet: %d token requests; all were answered after %s\n",
		coldCallers, coldReplicas, n, took.Round(time.Millisecond))
	return []benchmark.Result{benchmark.Against("cold-token-requests", float64(n), 1)}, st.stopSince(first)
}

// fleet starts a Redis and brokers on it, and returns connections to them.
func (st *stage) fleet(ctx context.Context) ([]*grpc.ClientConn, error) {
	store, err := st.startRedis(ctx)
	if err != nil {
		return nil, err
	}
	glob, err := st.writeMailboxes("cold", coldCallers, coldCallers)
	if err != nil {
		return nil, err
	}
	var all []*grpc.ClientConn
	for i := range coldReplicas {
		b, err := st.startBroker(ctx, fmt.Sprintf("replica-%d", i), store, glob)
		if err != nil {
			return nil, err
		}
		conns, err := st.dial(ctx, b.port, coldConnections)
		if err != nil {
			return nil, err
		}
		all = append(all, conns...)
	}
	return all, nil
}

// startRedis starts a Redis that syncs every write, and returns its URL.
func (st *stage) startRedis(ctx context.Context) (string, error) {
	var port int
	if err := freePorts(&port); err != nil {
		return "", err
	}
	if err := os.MkdirAll(st.path("redis"), 0o700); err != nil {
		return "", err
	}
	at := net.JoinHostPort("127.0.0.1", fmt.Sprint(port))
	_, _, err := st.start(ctx, "redis-server", listening(at), "redis-server", "--bind", "127.0.0.1", "--port", fmt.Sprint(port),
		"--dir", st.path("redis"), "--appendonly", "yes", "--appendfsync", "always", "--save", "", "--maxmemory-policy", "noeviction")
	return "redis://" + at + "/0", err
}

// stampede lets n callers, each of a mailbox of its own, ask at the same moment. It returns when the last was answered; an
// error is the first that a caller got.
func stampede(ctx context.Context, fleet []brokerv1.TokenServiceClient, n int) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	gate, errs := make(chan struct{}), make(chan error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			<-gate
			_, err := fleet[i%len(fleet)].AcquireToken(ctx, ask(i))
			errs <- err
		})
	}
	began := time.Now()
	close(gate)
	wg.Wait()
	took := time.Since(began)
	close(errs)
	for err := range errs {
		if err != nil {
			return 0, err
		}
	}
	return took, nil
}
