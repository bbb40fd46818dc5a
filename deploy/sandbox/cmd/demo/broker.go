package main

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"mailporter/kit/daemon"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

// side names one side of one mailbox.
type side struct {
	mailbox  string
	outbound bool
}

// tally asks the broker how many tokens it minted for each side. The broker counts from its start, so a tally that is told
// before every kill adds up.
type tally struct {
	mailboxes brokerv1.MailboxServiceClient
	last      map[side]int64
	before    map[side]int64 // by brokers that were killed
}

func newTally(ctx context.Context, address string, files daemon.TLSFiles) (*tally, error) {
	tls, err := daemon.ClientTLS(ctx, files, "", slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(tls)))
	if err != nil {
		return nil, err
	}
	return &tally{brokerv1.NewMailboxServiceClient(conn), map[side]int64{}, map[side]int64{}}, nil
}

func (t *tally) look(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	answer, err := t.mailboxes.ListMailboxes(ctx, &brokerv1.ListMailboxesRequest{}, grpc.WaitForReady(true))
	if err != nil {
		return fmt.Errorf("list mailboxes: %w", err)
	}
	for _, m := range answer.GetMailboxes() {
		for _, s := range m.GetStatuses() {
			sel := s.GetSelector()
			t.last[side{sel.GetMailbox(), sel.GetDirection() == brokerv1.Direction_DIRECTION_OUTBOUND}] = s.GetMinted()
		}
	}
	return nil
}

// closeBooks adds what the present broker minted to the sum, because it is about to be killed.
func (t *tally) closeBooks() {
	for s, n := range t.last {
		t.before[s] += n
	}
	clear(t.last)
}

func (t *tally) minted(mailbox string, outbound bool) int64 {
	s := side{mailbox, outbound}
	return t.before[s] + t.last[s]
}
