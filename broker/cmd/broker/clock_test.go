package main

import (
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"mailporter/broker/internal/store/seal"
	"mailporter/kit/redistest"
	"mailporter/sandbox/fault"
)

// The clock is compared with everybody's that counts, and a wrong one is told, in the log and as a gauge. The broker goes
// on serving: it cannot know which of the two is wrong.
func TestClockGuard(t *testing.T) {
	sb := provider(t, time.Hour)
	s := newSite(t, sb, redistest.Start(t).URL())
	if err := seal.Make(filepath.Join(s.dir, "secrets/keyset.json")); err != nil {
		t.Fatal(err)
	}
	sb.Faults().Add(fault.Rule{Target: fault.Identity, Step: "google-token", Action: fault.SkewDate, Skew: -time.Hour})
	s.start()
	c := s.connect(worker)
	for _, m := range []string{"app@contoso.example", "orders@shop.example"} {
		if _, err := ask(c, m, in); err != nil {
			t.Fatal(reason(err))
		}
	}
	if against := s.out.wait(t, "the clock is off by half of the smallest margin: tokens may be handed out that are over", "against"); against != "google" {
		t.Errorf("against %s", against)
	}
	for name, want := range map[string]float64{"broker_clock_alarm": 1, `broker_clock_offset_seconds{against="google"}`: 3600,
		`broker_clock_offset_seconds{against="microsoft"}`: 0, `broker_clock_offset_seconds{against="redis"}`: 0} {
		if got := s.gauge(name); got < want-2 || got > want+2 {
			t.Errorf("%s is %v, want about %v", name, got, want)
		}
	}
	if got := s.out.String(); strings.Contains(got, `"against":"microsoft"`) || strings.Contains(got, `"against":"redis"`) {
		t.Error("clocks that agree are complained about")
	}
	if got := s.readiness(); got != http.StatusOK {
		t.Errorf("readyz: %d", got)
	}
}

// gauge waits until a metric is there.
func (s *site) gauge(name string) float64 {
	s.t.Helper()
	for late := time.Now().Add(30 * time.Second); time.Now().Before(late); time.Sleep(20 * time.Millisecond) {
		for line := range strings.Lines(s.metrics()) {
			if text, ok := strings.CutPrefix(line, name+" "); ok {
				value, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
				if err != nil {
					s.t.Fatal(err)
				}
				return value
			}
		}
	}
	s.t.Fatalf("%s is not in the metrics", name)
	return 0
}

// readiness is the status of /readyz.
func (s *site) readiness() int {
	s.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + s.admin + "/readyz")
	if err != nil {
		s.t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}
