package inbound

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
)

// Metrics are the engine's metrics. nil counts nothing.
type Metrics struct {
	messages    *prometheus.CounterVec
	bytes       *prometheus.CounterVec
	puts        *prometheus.HistogramVec
	cycles      *prometheus.CounterVec
	reconnects  *prometheus.CounterVec
	lost        *prometheus.CounterVec
	lastSuccess *prometheus.GaugeVec
	nextAttempt *prometheus.GaugeVec
	junk        *prometheus.GaugeVec
}

// NewMetrics registers the metrics.
func NewMetrics(reg prometheus.Registerer) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		reg.MustRegister(c)
		return c
	}
	gauge := func(name, help string) *prometheus.GaugeVec {
		g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, []string{"mailbox", "folder"})
		reg.MustRegister(g)
		return g
	}
	m := &Metrics{
		messages:    counter("inbound_messages_total", "Messages by what became of them: delivered, quarantined, or why the sink did not take them.", "protocol", "kind"),
		bytes:       counter("inbound_bytes_total", "Bytes of delivered messages.", "protocol"),
		cycles:      counter("inbound_cycles_total", "Looks into a folder by how they ended: ok, or the kind of failure.", "protocol", "kind"),
		reconnects:  counter("inbound_planned_reconnects_total", "Sessions that ended with their token, as planned.", "protocol"),
		lost:        counter("inbound_leases_lost_total", "Leases that were lost.", "protocol"),
		lastSuccess: gauge("inbound_last_success_seconds", "When the folder was read to its end last, in seconds since 1970."),
		nextAttempt: gauge("inbound_next_attempt_seconds", "When the folder will be looked at next, in seconds since 1970."),
		junk:        gauge("inbound_junk_messages", "Messages in the junk folder."),
		puts: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "inbound_put_seconds", Help: "How long the sink took to make a message durable.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
		}, []string{"protocol"}),
	}
	reg.MustRegister(m.puts)
	return m
}

func (m *Metrics) message(protocol, kind string) {
	if m != nil {
		m.messages.WithLabelValues(protocol, kind).Inc()
	}
}

func (m *Metrics) put(protocol string, size int64, took time.Duration, err error) {
	if m == nil {
		return
	}
	m.puts.WithLabelValues(protocol).Observe(took.Seconds())
	if err != nil {
		m.message(protocol, fault.Of(err).String())
		return
	}
	m.message(protocol, "delivered")
	m.bytes.WithLabelValues(protocol).Add(float64(size))
}

func (m *Metrics) cycle(protocol, kind string) {
	if m != nil {
		m.cycles.WithLabelValues(protocol, kind).Inc()
	}
}

func (m *Metrics) reconnect(protocol string) {
	if m != nil {
		m.reconnects.WithLabelValues(protocol).Inc()
	}
}

func (m *Metrics) leaseLost(protocol string) {
	if m != nil {
		m.lost.WithLabelValues(protocol).Inc()
	}
}

// health sets the gauges of one folder.
func (m *Metrics) health(s FolderStatus) {
	if m == nil {
		return
	}
	set := func(g *prometheus.GaugeVec, t time.Time) {
		if !t.IsZero() {
			g.WithLabelValues(s.Mailbox, s.Folder).Set(float64(t.UnixMilli()) / 1000)
		}
	}
	set(m.lastSuccess, s.LastSuccess)
	set(m.nextAttempt, s.NextAttempt)
	if s.Junk != nil {
		m.junk.WithLabelValues(s.Mailbox, s.Folder).Set(float64(s.Junk.Messages))
	}
}

// forget takes the gauges of a folder away that is not read any more.
func (m *Metrics) forget(f mail.Folder) {
	if m == nil {
		return
	}
	for _, g := range []*prometheus.GaugeVec{m.lastSuccess, m.nextAttempt, m.junk} {
		g.DeleteLabelValues(f.Mailbox, f.Name)
	}
}
