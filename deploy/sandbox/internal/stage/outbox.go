package stage

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// Outbox is that of a worker, as an operator sees it.
type Outbox struct {
	Brokerctl string // the program
	Worker    string // the worker's admin address
}

// Ask runs brokerctl outbox with these arguments and returns what it prints.
func (o Outbox) Ask(ctx context.Context, args ...string) (string, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, o.Brokerctl, append([]string{"outbox", "--worker", o.Worker}, args...)...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("brokerctl outbox %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

// Dead waits, for a minute at most, until a message was given up for this reason, and returns the list of those that were.
func (o Outbox) Dead(ctx context.Context, reason string) (string, error) {
	ctx, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	for {
		listing, err := o.Ask(ctx, "list", "--state", "dead")
		if err != nil || strings.Contains(listing, reason) {
			return listing, err
		}
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return listing, fmt.Errorf("no message was given up for %q: %w", reason, ctx.Err())
		}
	}
}
