package file

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/outbound/outboundtest"
)

// BenchmarkAdd is the intake's side: many sessions at once, small messages.
func BenchmarkAdd(b *testing.B) {
	s, err := Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	b.SetParallelism(16)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := s.Outbox().Add(context.Background(), small()); err != nil {
				b.Error(err)
			}
		}
	})
}

func small() outbound.Submission {
	return outbound.Submission{Mailbox: box, Body: strings.NewReader(strings.Repeat("0123456789abcde\n", 512)),
		Envelope: mail.Envelope{From: box, Recipients: recipients("b@x.example")}}
}

// BenchmarkClaimAndSettle is the sender's side, with a backlog.
func BenchmarkClaimAndSettle(b *testing.B) {
	s, err := Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	o := s.Outbox()
	for range b.N {
		if _, err := o.Add(b.Context(), small()); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	var done atomic.Int64
	b.SetParallelism(8)
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			jobs, err := o.Claim(context.Background(), []string{box}, 1000, 1, long)
			if err != nil || len(jobs) != 1 {
				b.Errorf("%d jobs, %v", len(jobs), err)
				return
			}
			if err := o.Settle(context.Background(), jobs[0], outbound.Verdict{Sent: []string{"b@x.example"}}); err != nil {
				b.Error(err)
			}
			done.Add(1)
		}
	})
}

func BenchmarkThroughput(b *testing.B) {
	s, err := Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	outboundtest.Throughput(b, s.Outbox())
}
