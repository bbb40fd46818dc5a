package main

import (
	"context"
	"slices"
	"sync"
	"time"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

// side is one of two servers that are compared.
type side struct {
	server  *process
	clients []brokerv1.TokenServiceClient
}

// slice is what a side did in a while.
type slice struct {
	rate float64       // calls a second
	p99  time.Duration // of the calls that ended
	cpu  time.Duration // of the server, for each call
}

// askFor lets callers ask one after the other for the length of a slice. Caller i goes round the mailboxes from its own
// place, and uses client i modulo the number of clients. The first error ends all.
func (s side) askFor(ctx context.Context, callers, mailboxes int, length time.Duration) (slice, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	before, err := s.server.cpu()
	if err != nil {
		return slice{}, err
	}
	took := make([][]time.Duration, callers)
	began := time.Now()
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			c := s.clients[i%len(s.clients)]
			for box := i * mailboxes / callers; time.Since(began) < length; box++ {
				sent := time.Now()
				if _, err := c.AcquireToken(ctx, ask(box%mailboxes)); err != nil {
					cancel(err)
					return
				}
				took[i] = append(took[i], time.Since(sent))
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(began)
	if err := context.Cause(ctx); err != nil {
		return slice{}, err
	}
	after, err := s.server.cpu()
	all := slices.Concat(took...)
	return slice{float64(len(all)) / elapsed.Seconds(), percentile(all, 0.99), (after - before) / time.Duration(len(all))}, err
}

func ask(mailbox int) *brokerv1.AcquireTokenRequest {
	return &brokerv1.AcquireTokenRequest{Selector: &brokerv1.Selector{Mailbox: address(mailbox), Direction: brokerv1.Direction_DIRECTION_INBOUND}}
}

// percentile sorts d and returns the smallest value that a share of all are not above; 0 of none.
func percentile(d []time.Duration, share float64) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[min(len(d)-1, int(share*float64(len(d))))]
}
