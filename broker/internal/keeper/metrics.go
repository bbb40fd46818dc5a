package keeper

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
)

// meters counts. No label names a mailbox or a credential.
type meters struct {
	mints      *prometheus.CounterVec
	handouts   map[Source]prometheus.Counter
	refusals   *prometheus.CounterVec
	rejections *prometheus.CounterVec
	renewals   *prometheus.HistogramVec
	sealed     prometheus.Counter
}

func newMeters(k *Keeper) *meters {
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	m := &meters{
		mints:      counter("broker_mints_total", "Token requests to providers; kind is ok or the class of the failure.", "provider", "grant", "kind"),
		refusals:   counter("broker_refusals_total", "Asks that got no token.", "kind", "reason"),
		rejections: counter("broker_rejections_total", "Reports of tokens that mail servers refused.", "outcome"),
		sealed:     prometheus.NewCounter(prometheus.CounterOpts{Name: "broker_sealed_total", Help: "Stored values that did not open with the keyset."}),
		renewals: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "broker_renewal_seconds", Help: "How long renewals took, waiting for other brokers included.",
			Buckets: []float64{.05, .1, .25, .5, 1, 2.5, 5, 10, 20, 60},
		}, []string{"provider", "grant"}),
	}
	handouts := counter("broker_handouts_total", "Tokens handed out, by where they came from.", "source")
	m.handouts = map[Source]prometheus.Counter{}
	for _, s := range []Source{FromMemory, FromCache, FromProvider} {
		m.handouts[s] = handouts.WithLabelValues(string(s))
	}
	if k.Metrics != nil {
		k.Metrics.MustRegister(m.mints, m.refusals, m.rejections, m.sealed, m.renewals, handouts)
		k.Metrics.MustRegister(k.gauges()...)
	}
	return m
}

// gauges are worked out when somebody looks.
func (k *Keeper) gauges() []prometheus.Collector {
	gauge := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f)
	}
	return []prometheus.Collector{
		gauge("broker_tokens_held", "Tokens in memory that did not expire.", func() float64 {
			n, _ := k.census(time.Now())
			return float64(n)
		}),
		gauge("broker_token_earliest_expiry_seconds", "Until the first of the held tokens expires; 0 without tokens.", func() float64 {
			_, least := k.census(time.Now())
			return least.Seconds()
		}),
		gauge("broker_frozen_credentials", "Credentials that wait for a person.", func() float64 { return float64(k.frozen()) }),
	}
}

// census counts the tokens that did not expire and finds the least time left.
func (k *Keeper) census(now time.Time) (held int, least time.Duration) {
	k.eachSlot(func(s *slot) bool {
		if h := s.held.Load(); h != nil && h.token.Expires.After(now) {
			if left := h.token.Expires.Sub(now); held == 0 || left < least {
				least = left
			}
			held++
		}
		return true
	})
	return held, least
}

func (k *Keeper) frozen() (n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, versions := range k.accounts {
		for _, a := range versions {
			if r, _ := a.record(0); r.Frozen != nil && r.Version == a.version {
				n++
			}
		}
	}
	return n
}

func (m *meters) handout(s Source) { m.handouts[s].Inc() }

func (m *meters) refused(err error) {
	var f *remedy.Fault
	if !errors.As(err, &f) {
		m.refusals.WithLabelValues("caller", "GONE").Inc()
		return
	}
	m.refusals.WithLabelValues(string(f.Class), f.Reason).Inc()
}

func (m *meters) minted(c *token.Credential, err error) {
	kind := "ok"
	if err != nil {
		kind = string(asFault(err).Class)
	}
	m.mints.WithLabelValues(string(c.Provider), string(c.Grant), kind).Inc()
}

func (m *meters) flown(c *token.Credential, start time.Time) {
	m.renewals.WithLabelValues(string(c.Provider), string(c.Grant)).Observe(time.Since(start).Seconds())
}

func (m *meters) rejected(o Outcome) { m.rejections.WithLabelValues(string(o)).Inc() }
