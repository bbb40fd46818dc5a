// Package grpc is the door for programs that speak gRPC: the service mailporter.outbox.v1.OutboxService.
//
// Submit streams a message into the Outbox and answers once it is durable; its request_id makes trying again harmless.
// GetSubmission and ListSubmissions tell how the recipients stand. Callers prove who they are by a client certificate;
// plain text is for loopback.
package grpc

import (
	"cmp"
	"context"
	"crypto/tls"
	"log/slog"
	"time"

	"mailporter/workers/internal/intake"
	"mailporter/workers/internal/outbound"
)

// Config says who may hand in what.
type Config struct {
	intake.Rules
	TLS            *tls.Config    // wants and verifies client certificates; nil = plain text, on loopback only
	Clients        intake.Clients // whose certificate lets them in
	MaxSubmissions int            // at a time; default 100: each may have 4 MiB under way
	Idle           time.Duration  // longest silence within a submission; default 5 min, as SMTP has it
	Log            *slog.Logger
}

func (c Config) withDefaults() Config {
	c.Rules = c.Rules.WithDefaults()
	c.MaxSubmissions = cmp.Or(c.MaxSubmissions, 100)
	c.Idle = cmp.Or(c.Idle, 5*time.Minute)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Outbox is the part of outbound.Outbox that is served.
type Outbox interface {
	intake.Outbox
	Requested(ctx context.Context, mailbox, request string) (id string, err error)
	Get(ctx context.Context, id string) (outbound.Status, error)
	Sent(ctx context.Context, id string) (outbound.Status, error)
	ListAfter(ctx context.Context, mailbox, place string, max int) ([]outbound.Status, error)
}
