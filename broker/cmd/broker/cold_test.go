package main

import (
	"context"
	"sync"
	"testing"
	"time"

	"mailporter/kit/redistest"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

// Ten thousand callers, for the mailboxes of one application, ask the brokers of a fleet at the same moment for a token that
// none of them has yet.
func TestTenThousandColdCallersOfAFleetCostOneRequest(t *testing.T) {
	const callers, connections = 10_000, 10
	redis, sb := redistest.Start(t), provider(t, time.Hour)
	var clients []brokerv1.TokenServiceClient
	for _, s := range fleetAt(t, sb, redis.URL()) {
		for range connections {
			clients = append(clients, s.connect(worker))
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	gate, generations := make(chan struct{}), make(chan int64, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			mailbox := []string{"app@contoso.example", "app2@contoso.example"}[i%2]
			<-gate
			resp, err := clients[i%len(clients)].AcquireToken(ctx, &brokerv1.AcquireTokenRequest{Selector: &brokerv1.Selector{Mailbox: mailbox, Direction: in}})
			if err != nil {
				t.Error(err)
			}
			generations <- resp.GetAccessToken().GetGeneration()
		})
	}
	close(gate)
	wg.Wait()
	close(generations)
	first := <-generations
	for g := range generations {
		if g != first {
			t.Fatalf("tokens of the generations %d and %d", first, g)
		}
	}
	if n := sb.TokenRequests().Total; n != 1 {
		t.Errorf("%d token requests", n)
	}
}
