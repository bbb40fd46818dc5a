package inbound

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mailporter/workers/internal/mail"
)

// quarantineMost is how many quarantined messages are listed or counted, the oldest first.
const quarantineMost = 10_000

// listed is a Quarantined as the admin page shows it.
type listed struct {
	Mailbox string    `json:"mailbox"`
	Folder  string    `json:"folder"`
	ID      string    `json:"id"`
	Size    int64     `json:"size_bytes"` // as announced, -1 = unknown
	Arrived time.Time `json:"arrived,omitzero"`
	Reason  string    `json:"reason"`
	Moved   bool      `json:"moved"` // to the failed-items folder; else it lies where it came
	Since   time.Time `json:"since"`
}

// Listing answers with the messages that were passed over, the oldest first, as JSON: at most max (100; at most 10,000)
// of one mailbox, or of all.
func Listing(q Quarantine) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		most, err := strconv.Atoi(cmp.Or(r.FormValue("max"), "100"))
		if err != nil || most < 1 || most > quarantineMost {
			http.Error(w, "max: a number from 1 to 10000", http.StatusBadRequest)
			return
		}
		all, err := q.List(r.Context(), r.FormValue("mailbox"), most)
		if err != nil {
			http.Error(w, "the quarantine cannot be read: "+oneLine(err), http.StatusServiceUnavailable)
			return
		}
		writeJSON(w, toListed(all))
	})
}

func toListed(all []Quarantined) []listed {
	out := make([]listed, len(all))
	for i, q := range all {
		out[i] = listed{
			Mailbox: q.Folder.Mailbox, Folder: q.Folder.Name, ID: q.Item.ID, Size: q.Item.Size, Arrived: q.Item.Arrived,
			Reason: q.Reason, Moved: q.Moved, Since: q.Since,
		}
	}
	return out
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(v) // the client went away
}

// Count is a metric: how many messages each folder has in the quarantine, whenever it is asked.
func Count(q Quarantine) prometheus.Collector { return quarantineCount{q} }

type quarantineCount struct{ quarantine Quarantine }

var quarantinedMessages = prometheus.NewDesc("inbound_quarantined_messages",
	"Messages that were passed over and wait for a person, of the 10,000 oldest.", []string{"mailbox", "folder"}, nil)

// Describe implements prometheus.Collector.
func (quarantineCount) Describe(ch chan<- *prometheus.Desc) { ch <- quarantinedMessages }

// countWithin bounds a look into the store.
const countWithin = 5 * time.Second

// Collect implements prometheus.Collector. A store that does not answer shows as a metric that is missing.
func (c quarantineCount) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), countWithin)
	defer cancel()
	all, err := c.quarantine.List(ctx, "", quarantineMost)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(quarantinedMessages, err)
		return
	}
	counts := map[mail.Folder]int{}
	for _, q := range all {
		counts[q.Folder]++
	}
	for f, n := range counts {
		ch <- prometheus.MustNewConstMetric(quarantinedMessages, prometheus.GaugeValue, float64(n), f.Mailbox, f.Name)
	}
}
