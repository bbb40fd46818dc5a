package outbound

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the engine's metrics. nil counts nothing.
type Metrics struct {
	attempts   *prometheus.CounterVec
	recipients *prometheus.CounterVec
	bytes      *prometheus.CounterVec
	seconds    *prometheus.HistogramVec
	lost       *prometheus.CounterVec
	repeated   *prometheus.CounterVec
	success    *prometheus.GaugeVec
	reports    *prometheus.CounterVec
	untold     prometheus.Counter
}

// NewMetrics registers the metrics, and those of the queue, which are counted when they are asked for.
func NewMetrics(reg prometheus.Registerer, o Outbox) *Metrics {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		reg.MustRegister(c)
		return c
	}
	m := &Metrics{
		attempts:   counter("outbound_attempts_total", "Attempts by how they ended: sent, partial, or the kind of failure.", "protocol", "kind"),
		recipients: counter("outbound_recipients_total", "Recipients by what an attempt made of them: sent, deferred, unknown, dead.", "protocol", "state"),
		bytes:      counter("outbound_bytes_total", "Bytes of sent messages.", "protocol"),
		reports:    counter("outbound_reports_total", "Delivery reports that were filed: failed, delayed, relayed.", "action"),
		untold:     prometheus.NewCounter(prometheus.CounterOpts{Name: "outbound_reports_lost_total", Help: "Delivery reports that could not be filed."}),
		lost:       counter("outbound_claims_lost_total", "Claims that were lost while their message was being sent.", "protocol"),
		repeated:   counter("outbound_repeated_total", "Messages sent again after an attempt without an answer: their recipients may have them twice. The log names each.", "protocol"),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "outbound_attempt_seconds", Help: "How long an attempt took.", Buckets: prometheus.ExponentialBuckets(0.005, 4, 8),
		}, []string{"protocol"}),
		success: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "outbound_last_success_seconds", Help: "When the mailbox sent last, in seconds since 1970.",
		}, []string{"mailbox"}),
	}
	reg.MustRegister(m.seconds, m.success, m.untold, queue{o})
	return m
}

func (m *Metrics) attempt(protocol, kind string, took time.Duration) {
	if m == nil {
		return
	}
	m.attempts.WithLabelValues(protocol, kind).Inc()
	m.seconds.WithLabelValues(protocol).Observe(took.Seconds())
}

func (m *Metrics) verdict(protocol string, j Job, v Verdict) {
	if m == nil {
		return
	}
	later := Deferred
	if v.Doubt {
		later = Unknown
	}
	for state, n := range map[State]int{Sent: len(v.Sent), Dead: len(v.Dead), later: len(v.Later)} {
		m.recipients.WithLabelValues(protocol, state.String()).Add(float64(n))
	}
	if len(v.Sent) > 0 {
		m.bytes.WithLabelValues(protocol).Add(float64(j.Size))
		m.success.WithLabelValues(j.Mailbox).SetToCurrentTime()
	}
}

func (m *Metrics) report(a Action, err error) {
	switch {
	case m == nil:
	case err != nil:
		m.untold.Inc()
	default:
		m.reports.WithLabelValues(string(a)).Inc()
	}
}

func (m *Metrics) claimLost(protocol string) {
	if m != nil {
		m.lost.WithLabelValues(protocol).Inc()
	}
}

func (m *Metrics) repeat(protocol string) {
	if m != nil {
		m.repeated.WithLabelValues(protocol).Inc()
	}
}

// forget takes the gauges of a mailbox away that is not served any more.
func (m *Metrics) forget(mailbox string) {
	if m != nil {
		m.success.DeleteLabelValues(mailbox)
	}
}

// queue counts what is in the Outbox whenever it is asked.
type queue struct{ outbox Outbox }

// collectWithin is how long a store may take to say what is in it.
const collectWithin = 5 * time.Second

// queueMost is how many messages are counted, the oldest first.
const queueMost = 10_000

var (
	queueLength = prometheus.NewDesc("outbound_queue_recipients", "Recipients in the outbox by state, of the 10,000 oldest messages.", []string{"mailbox", "state"}, nil)
	queueAge    = prometheus.NewDesc("outbound_oldest_seconds", "Age of the oldest message that is neither sent nor dead, of the 10,000 oldest messages.", []string{"mailbox"}, nil)
	queueNext   = prometheus.NewDesc("outbound_next_attempt_seconds", "Seconds until the mailbox's next attempt; 0 = it is due.", []string{"mailbox"}, nil)
)

// Describe implements prometheus.Collector.
func (queue) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{queueLength, queueAge, queueNext} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. A store that does not answer shows as metrics that are missing.
func (q queue) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectWithin)
	defer cancel()
	all, err := q.outbox.List(ctx, "", queueMost)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(queueLength, err)
		return
	}
	for mailbox, b := range backlogs(all, time.Now()) {
		for state, n := range b.states {
			ch <- prometheus.MustNewConstMetric(queueLength, prometheus.GaugeValue, float64(n), mailbox, state.String())
		}
		if b.open {
			ch <- prometheus.MustNewConstMetric(queueAge, prometheus.GaugeValue, b.age.Seconds(), mailbox)
		}
		if b.planned {
			ch <- prometheus.MustNewConstMetric(queueNext, prometheus.GaugeValue, b.next.Seconds(), mailbox)
		}
	}
}

// backlog is what waits for one mailbox.
type backlog struct {
	states  map[State]int
	open    bool // something is neither sent nor dead
	age     time.Duration
	planned bool // an attempt is
	next    time.Duration
}

func backlogs(all []Status, now time.Time) map[string]*backlog {
	boxes := map[string]*backlog{}
	for _, s := range all {
		b := boxes[s.Mailbox]
		if b == nil {
			b = &backlog{states: map[State]int{}}
			boxes[s.Mailbox] = b
		}
		b.count(s, now)
	}
	return boxes
}

func (b *backlog) count(s Status, now time.Time) {
	for _, r := range s.Recipients {
		b.states[r.State]++
		if r.State != Sent && r.State != Dead {
			b.open, b.age = true, max(b.age, now.Sub(s.Accepted))
		}
	}
	if s.Next.IsZero() {
		return
	}
	due := max(0, s.Next.Sub(now))
	if !b.planned || due < b.next {
		b.planned, b.next = true, due
	}
}

var (
	backlogMessages = prometheus.NewDesc("outbound_backlog_messages", "Messages that wait to be sent, those that are being sent included; not the dead, nor what is held.", []string{"mailbox"}, nil)
	backlogAge      = prometheus.NewDesc("outbound_backlog_oldest_seconds", "Age of the oldest of them.", []string{"mailbox"}, nil)
	backlogETA      = prometheus.NewDesc("outbound_eta_seconds", "Seconds until all of them are sent, if the mailbox's limits and the time that attempts take stay as they are; missing while somebody must act.", []string{"mailbox"}, nil)
)

// Waiting counts what waits in each mailbox whenever it is asked. All workers that share an outbox say the same of a
// mailbox, but its ETA, which only those tell who serve it: ask for the maximum.
func (s *Sender) Waiting() prometheus.Collector { return outlooks{s} }

type outlooks struct{ sender *Sender }

// Describe implements prometheus.Collector.
func (outlooks) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{backlogMessages, backlogAge, backlogETA} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. A store that does not answer shows as metrics that are missing.
func (o outlooks) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectWithin)
	defer cancel()
	all, err := o.sender.Outlooks(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(backlogMessages, err)
		return
	}
	for _, b := range all {
		ch <- prometheus.MustNewConstMetric(backlogMessages, prometheus.GaugeValue, float64(b.Messages), b.Mailbox)
		ch <- prometheus.MustNewConstMetric(backlogAge, prometheus.GaugeValue, max(0, time.Since(b.Oldest).Seconds()), b.Mailbox)
		if b.Known {
			ch <- prometheus.MustNewConstMetric(backlogETA, prometheus.GaugeValue, b.ETA.Seconds(), b.Mailbox)
		}
	}
}
