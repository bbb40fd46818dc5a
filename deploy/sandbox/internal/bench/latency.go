package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"mailporter/kit/benchmark"
)

// A server across the world: every answer takes so long, and so many requests at a time are allowed.
const (
	answerTime = 50 * time.Millisecond
	allowed    = 4
	leastUse   = 0.9 // of what that allows

	slowMessages = 600
	slowSize     = 4 << 10 // bytes: the wait is what is measured
)

// latency measures EWS and Graph against what the server's answer time allows.
func (b *bench) latency(ctx context.Context) (all []benchmark.Result, err error) {
	limit := allowed / answerTime.Seconds()
	fmt.Fprintf(b.out, "\n%d messages of a mailbox whose server takes %s for an answer and %d requests at a time, %.0f messages/s at most:\n",
		slowMessages, answerTime, allowed, limit)
	for _, target := range []string{"graph", "ews"} {
		o, err := b.slow(ctx, target)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", target, err)
		}
		fmt.Fprintf(b.out, "%s-worker %s/s, left behind %d\n", target, benchmark.Number(o.rate()), slowMessages-o.moved)
		all = append(all, benchmark.Result{Name: target + "-50ms-messages-per-second", Ours: o.rate(), Limit: limit, Ratio: o.rate() / limit, Target: leastUse})
	}
	return all, nil
}

// slow lets a worker read a mailbox of the sandbox whose answers are slow.
func (b *bench) slow(ctx context.Context, target string) (outcome, error) {
	mail := newCorpus(1)
	for range slowMessages {
		mail.n++
		path := "/mailboxes/" + target + "@slow.example/messages"
		if err := b.ask(ctx, http.MethodPost, b.Ports.SandboxAdmin, path, bytes.NewReader(mail.ordinary(slowSize)), nil); err != nil {
			return outcome{}, err
		}
	}
	rule, err := json.Marshal(map[string]string{"target": target, "action": "delay", "delay": answerTime.String()})
	if err != nil {
		return outcome{}, err
	}
	if err := b.ask(ctx, http.MethodPost, b.Ports.SandboxAdmin, "/faults", bytes.NewReader(rule), nil); err != nil {
		return outcome{}, err
	}
	o, err := b.work(ctx, target+"-worker", target, 1)
	if err != nil {
		return outcome{}, err
	}
	return o, b.ask(ctx, http.MethodDelete, b.Ports.SandboxAdmin, "/faults", nil, nil)
}
