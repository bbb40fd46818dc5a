package keeper_test

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/token"
)

// family is one metric of a registry, or nil.
func family(t *testing.T, r *prometheus.Registry, name string) *dto.MetricFamily {
	t.Helper()
	all, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if f.GetName() == name {
			return f
		}
	}
	return nil
}

func gauge(t *testing.T, r *prometheus.Registry, name string) float64 {
	t.Helper()
	f := family(t, r, name)
	if f == nil {
		t.Fatalf("no metric %s", name)
	}
	return f.GetMetric()[0].GetGauge().GetValue()
}

// counts are a counter's values by their labels' values.
func counts(t *testing.T, r *prometheus.Registry, name string) map[string]float64 {
	t.Helper()
	out := map[string]float64{}
	for _, m := range family(t, r, name).GetMetric() {
		var labels []string
		for _, l := range m.GetLabel() {
			labels = append(labels, l.GetValue())
		}
		out[strings.Join(labels, " ")] = m.GetCounter().GetValue()
	}
	return out
}

func TestMetrics(t *testing.T) {
	inHouse(t, func(t *testing.T, h *house) {
		r := prometheus.NewPedanticRegistry()
		k := h.brokerWith(keeper.Config{Metrics: r})
		if gauge(t, r, "broker_token_earliest_expiry_seconds") != 0 {
			t.Error("an expiry without a token")
		}
		out := h.must(k, wish(appOnly()))
		h.must(k, wish(appOnly()))
		h.reject(k, out, keeper.Replacing)
		h.must(k, newer(out))
		h.answer = func(int, token.Credential, string) error { return refuse("TENANT_NOT_FOUND") }
		other := appOnly()
		other.ID = "other"
		h.fault(k, wish(other), "TENANT_NOT_FOUND")

		for name, want := range map[string]map[string]float64{
			"broker_mints_total":      {"client_credentials ok microsoft": 2, "client_credentials wrong-config microsoft": 1},
			"broker_handouts_total":   {"memory": 1, "provider": 2, "cache": 0},
			"broker_refusals_total":   {"wrong-config TENANT_NOT_FOUND": 1},
			"broker_rejections_total": {"replacing": 1},
		} {
			got := counts(t, r, name)
			for labels, n := range want {
				if got[labels] != n {
					t.Errorf("%s{%s}: got %v, want %v", name, labels, got[labels], n)
				}
			}
		}
		if n := gauge(t, r, "broker_frozen_credentials"); n != 1 {
			t.Errorf("%v frozen", n)
		}
		left := time.Duration(gauge(t, r, "broker_token_earliest_expiry_seconds") * float64(time.Second))
		if left <= 50*time.Minute || left > time.Hour {
			t.Errorf("earliest expiry in %s", left)
		}
		if n := family(t, r, "broker_renewal_seconds").GetMetric()[0].GetHistogram().GetSampleCount(); n != 3 {
			t.Errorf("%d renewals", n)
		}
	})
}
