// Package intake holds what all ways in have in common: which mailbox sends for an address, who may send as whom, and what a
// message must be to be taken. The doors themselves are in its subfolders: smtp, grpc, folder. Each says yes only once the
// Outbox has the message durably, and keeps its bytes as they came.
package intake

import (
	"context"

	"mailporter/workers/internal/outbound"
)

// Outbox is where mail goes: the part of outbound.Outbox that every door needs.
type Outbox interface {
	Add(ctx context.Context, s outbound.Submission) (id string, err error)
}
