package outbound_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/outbound/outboundtest"
)

// journal keeps what a Sender logs.
type journal struct {
	mu    sync.Mutex
	lines bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.lines.Write(b)
}

// marks are the lines about messages that are sent again.
func (j *journal) marks() (all []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for line := range strings.Lines(j.lines.String()) {
		if strings.Contains(line, "message sent again") {
			all = append(all, line)
		}
	}
	return all
}

// repeated reads outbound_repeated_total.
func repeated(t *testing.T, reg *prometheus.Registry) (n float64) {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "outbound_repeated_total" {
			for _, m := range f.GetMetric() {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

// marked sends one message for a day and returns the marks that were made of it.
func marked(t *testing.T, tr outbound.Transport, log *journal, unknown tokenclient.OnUnknown) []string {
	t.Helper()
	reg, box := prometheus.NewRegistry(), &outboundtest.Memory{}
	set := settings(support, 1)
	set.Outbound.OnUnknown = unknown
	s := &outbound.Sender{
		Protocol: "SMTP", Outbox: box, Log: slog.New(slog.NewJSONHandler(log, nil)), Metrics: outbound.NewMetrics(reg, box),
		Transport: func(tokenclient.Settings) (outbound.Transport, error) { return tr, nil },
	}
	s.Set([]tokenclient.Settings{set})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	submit(t, box, support, ann)
	after(24 * time.Hour)
	cancel()
	<-done
	if n := repeated(t, reg); int(n) != len(log.marks()) {
		t.Errorf("%v counted, %d logged", n, len(log.marks()))
	}
	return log.marks()
}

// cutting takes each message and loses the first answers.
func cutting(f *far, answers int, kind fault.Kind) {
	f.says(func(context.Context, string, mail.Envelope) (outbound.Receipt, error) {
		if answers == 0 {
			return outbound.Receipt{}, nil
		}
		answers--
		return outbound.Receipt{}, reply(kind, "cut")
	})
}

// TestMarks: who may get a message twice is told of, once for each time that it is offered again, and nobody else.
func TestMarks(t *testing.T) {
	smtp := func(answers int, kind fault.Kind) outbound.Transport {
		f := newFar()
		cutting(f, answers, kind)
		return transport{f, support}
	}
	at := func(d *desk) outbound.Transport {
		d.drafts = map[string]outbound.Fate{}
		return drafter{d}
	}
	for name, c := range map[string]struct {
		transport func() outbound.Transport
		unknown   tokenclient.OnUnknown
		want      int
	}{
		"all well":                      {func() outbound.Transport { return smtp(0, 0) }, tokenclient.RetryUnknown, 0},
		"refused for now":               {func() outbound.Transport { return smtp(2, fault.Temporary) }, tokenclient.RetryUnknown, 0},
		"no answer":                     {func() outbound.Transport { return smtp(1, fault.InDoubt) }, tokenclient.RetryUnknown, 1},
		"no answer, three times":        {func() outbound.Transport { return smtp(3, fault.InDoubt) }, tokenclient.RetryUnknown, 3},
		"no answer, held":               {func() outbound.Transport { return smtp(1, fault.InDoubt) }, tokenclient.HoldUnknown, 0},
		"a draft that is found":         {func() outbound.Transport { return at(&desk{loses: 1}) }, tokenclient.RetryUnknown, 0},
		"a draft that waits":            {func() outbound.Transport { return at(&desk{refuses: reply(fault.InDoubt, "cut")}) }, tokenclient.RetryUnknown, 0},
		"a draft that vanished":         {func() outbound.Transport { return at(&desk{loses: 1, removes: true}) }, tokenclient.RetryUnknown, 1},
		"a draft that vanished twice":   {func() outbound.Transport { return at(&desk{loses: 2, removes: true}) }, tokenclient.RetryUnknown, 2},
		"a draft that vanished is held": {func() outbound.Transport { return at(&desk{loses: 1, removes: true}) }, tokenclient.HoldUnknown, 0},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				marks := marked(t, c.transport(), &journal{}, c.unknown)
				if len(marks) != c.want {
					t.Errorf("%d marks, want %d: %s", len(marks), c.want, marks)
				}
				for _, m := range marks {
					if !strings.Contains(m, `"id":"1"`) || !strings.Contains(m, support) || strings.Contains(m, ann) {
						t.Errorf("a mark names the message and the mailbox, and nobody else: %s", m)
					}
				}
			})
		})
	}
}

// TestTheMarkComesFirst: a worker that dies while it sends again has told of it.
func TestTheMarkComesFirst(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		log, f, offers := &journal{}, newFar(), 0
		f.says(func(context.Context, string, mail.Envelope) (outbound.Receipt, error) {
			if n := len(log.marks()); n != offers {
				t.Errorf("offer %d comes after %d marks", offers+1, n)
			}
			if offers++; offers < 3 {
				return outbound.Receipt{}, reply(fault.InDoubt, "cut")
			}
			return outbound.Receipt{}, nil
		})
		marked(t, transport{f, support}, log, tokenclient.RetryUnknown)
	})
}
