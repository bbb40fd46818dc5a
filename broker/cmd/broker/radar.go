package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mailporter/broker/internal/directory"
	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/token"
)

// radar tells when a person must act: as a gauge, and in the log when the day comes near.
type radar struct {
	directory *directory.Directory
	keeper    *keeper.Keeper
	told      map[string]int // the least of warnDays that was told, by what is due
}

func newRadar(d *directory.Directory, k *keeper.Keeper) *radar {
	return &radar{directory: d, keeper: k, told: map[string]int{}}
}

// warnDays are how many days before the day the log tells, once each.
var warnDays = []int{1, 7, 14, 30}

// farthest is how far the gauge looks: a metric for every certificate of the next ten years helps nobody.
const farthest = 90 * 24 * time.Hour

var actionDue = prometheus.NewDesc("broker_action_due_seconds",
	"Until a person must act, or tokens end; not more than 0 where they have. Only what is due within 90 days.", []string{"credential", "what"}, nil)

// Describe implements prometheus.Collector.
func (r *radar) Describe(to chan<- *prometheus.Desc) { to <- actionDue }

// Collect implements prometheus.Collector.
func (r *radar) Collect(to chan<- prometheus.Metric) {
	for id, d := range r.dues() {
		if left := time.Until(d.At); left < farthest {
			to <- prometheus.MustNewConstMetric(actionDue, prometheus.GaugeValue, left.Seconds(), id, d.What)
		}
	}
}

// dues are what is known of each credential, by its name for people and its number, and of the protocols that end.
func (r *radar) dues() map[string]keeper.Due {
	all := map[string]keeper.Due{}
	seen := map[*token.Credential]bool{}
	for _, box := range r.directory.Now().Mailboxes {
		for _, s := range box.Sides() {
			if at, what := s.Retires(time.Now()); !at.IsZero() {
				all[string(s.Protocol)] = keeper.Due{At: at, What: what}
			}
			if s.Credential == nil || seen[s.Credential] {
				continue
			}
			seen[s.Credential] = true
			if d := r.keeper.Due(s.Credential); !d.At.IsZero() {
				all[s.Credential.Label+" "+s.Credential.ID[:8]] = d
			}
		}
	}
	return all
}

// lookEvery is how often the log is thought of.
const lookEvery = time.Hour

// run tells the log until ctx ends.
func (r *radar) run(ctx context.Context, log *slog.Logger) {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		r.warn(log, time.Now())
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
	}
}

// warn tells what came nearer than the next of warnDays. What is frozen is told by the keeper.
func (r *radar) warn(log *slog.Logger, now time.Time) {
	for id, d := range r.dues() {
		if d.At.Before(now) {
			continue
		}
		key := id + " " + d.At.String()
		for _, days := range warnDays {
			if d.At.Sub(now) > time.Duration(days)*24*time.Hour {
				continue
			}
			if least, told := r.told[key]; !told || days < least {
				r.told[key] = days
				log.Error("a person must act before tokens end", "credential", id, "what", d.What, "at", d.At.UTC().Format(time.RFC3339), "days", days)
			}
			break
		}
	}
}
