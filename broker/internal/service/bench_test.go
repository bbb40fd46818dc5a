package service

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mailporter/broker/internal/audit"
	"mailporter/broker/internal/directory"
	"mailporter/broker/internal/keeper"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

// ready is a keeper that has the token.
type ready struct {
	*tokens
	handout keeper.Handout
}

func (r ready) Ask(context.Context, keeper.Wish) (keeper.Handout, error) { return r.handout, nil }

// BenchmarkAcquireToken is what the service itself adds to a call: policy, rate, audit in a file and the answer. Neither gRPC
// nor the Keeper is in it.
func BenchmarkAcquireToken(b *testing.B) {
	dir := b.TempDir()
	for name, text := range map[string]string{"broker.yaml": "policy: policy.yaml\nmailboxes: [m/*.yaml]\n", "policy.yaml": policyFile,
		"m/a.yaml": mailboxFile, "app": "MARKER-app", "pass": "MARKER-pass"} {
		writeFile(b, filepath.Join(dir, name), text)
	}
	c, complaints := directory.Load(filepath.Join(dir, "broker.yaml"), nil)
	if err := complaints.Err(); err != nil {
		b.Fatal(err)
	}
	journal, err := audit.Open(filepath.Join(dir, "audit.jsonl"), audit.Written)
	if err != nil {
		b.Fatal(err)
	}
	defer journal.Close()
	handout, _ := good(b.Context(), keeper.Wish{Margin: time.Minute})
	log := slog.New(slog.DiscardHandler)
	s := New(Config{Tokens: ready{&tokens{}, handout}, Directory: directory.Open("", c, log), Audit: journal, Log: log, Metrics: prometheus.NewRegistry()})
	ctx := context.WithValue(b.Context(), callerKey{}, &caller{identity: worker, address: "192.0.2.1:50000"})
	req := &brokerv1.AcquireTokenRequest{Selector: inbound("support@contoso.com")}
	b.ReportAllocs()
	b.SetParallelism(16)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := s.AcquireToken(ctx, req); err != nil {
				b.Error(err)
			}
		}
	})
}
