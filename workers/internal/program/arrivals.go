package program

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"mailporter/workers/internal/intake"
	"mailporter/workers/internal/outbound"
)

// newArrivals counts what comes in.
func newArrivals(reg prometheus.Registerer) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "intake_messages_total",
		Help: "Messages that came in, by door (smtp, grpc, folder) and outcome: taken, refused for what they are, or failed: broken off, or the outbox could not take them.",
	}, []string{"door", "outcome"})
	reg.MustRegister(c)
	return c
}

// counted is the Outbox as a door has it: what comes in is counted.
type counted struct {
	outbound.Outbox
	arrivals *prometheus.CounterVec
	door     string
}

// Add implements outbound.Outbox.
func (c counted) Add(ctx context.Context, s outbound.Submission) (string, error) {
	id, err := c.Outbox.Add(ctx, s)
	outcome := "taken"
	switch {
	case intake.AsRefusal(err) != nil:
		outcome = "refused"
	case err != nil:
		outcome = "failed"
	}
	c.arrivals.WithLabelValues(c.door, outcome).Inc()
	return id, err
}
