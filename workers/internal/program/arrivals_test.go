package program

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"mailporter/workers/internal/intake"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/outbound/outboundtest"
)

// TestArrivals: what comes in is counted by what becomes of it.
func TestArrivals(t *testing.T) {
	for outcome, body := range map[string]io.Reader{
		"taken":   strings.NewReader("Subject: x\r\n\r\n"),
		"refused": intake.Rules{MaxSize: 1}.WithDefaults().Guard(strings.NewReader("Subject: x\r\n\r\n")),
		"failed":  broken{},
	} {
		t.Run(outcome, func(t *testing.T) {
			arrivals := newArrivals(prometheus.NewRegistry())
			door := counted{&outboundtest.Memory{}, arrivals, "smtp"}
			_, err := door.Add(t.Context(), outbound.Submission{Mailbox: "a@x", Envelope: mail.Envelope{From: "a@x", Recipients: []mail.Recipient{{Address: "b@x"}}}, Body: body})
			if n := testutil.ToFloat64(arrivals.WithLabelValues("smtp", outcome)); n != 1 {
				t.Errorf("%v counted %v times", err, n)
			}
		})
	}
}

// broken is a message that breaks off.
type broken struct{}

// Read implements io.Reader.
func (broken) Read([]byte) (int, error) { return 0, errors.New("connection reset") }
