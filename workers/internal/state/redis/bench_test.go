package redis

import (
	"log/slog"
	"testing"

	"mailporter/kit/redistest"
	"mailporter/workers/internal/outbound/outboundtest"
)

func BenchmarkThroughput(b *testing.B) {
	server := redistest.Start(b, "--appendonly", "yes", "--appendfsync", "always")
	s, err := Open(b.Context(), Config{URL: server.URL()}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	outboundtest.Throughput(b, s.Outbox())
}
