package inbound_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/inbound/inboundtest"
	"mailporter/workers/internal/mail"
)

// noted is a quarantine with a message of each of three folders.
func noted(t *testing.T) inbound.Quarantine {
	t.Helper()
	var state inboundtest.State
	for i, f := range []mail.Folder{{Mailbox: "a@x", Name: "INBOX"}, {Mailbox: "a@x", Name: "Größe"}, {Mailbox: "b@x", Name: "INBOX"}} {
		q := inbound.Quarantined{Folder: f, Item: inbound.Item{ID: "17", Key: "k", Size: 5}, Reason: "too ugly", Moved: i == 1,
			Since: time.Date(2026, 3, 1, i, 0, 0, 0, time.UTC)}
		if err := state.Note(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	return &state
}

func get(h http.Handler, url string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", url, nil))
	return w
}

func TestListing(t *testing.T) {
	h := inbound.Listing(noted(t))
	for url, want := range map[string]int{"/quarantine": 3, "/quarantine?mailbox=a@x": 2, "/quarantine?mailbox=c@x": 0, "/quarantine?max=1": 1} {
		var all []struct {
			Mailbox, Folder, Reason string
			Size                    int64 `json:"size_bytes"`
			Moved                   bool
			Since                   time.Time
		}
		w := get(h, url)
		if err := json.Unmarshal(w.Body.Bytes(), &all); err != nil || len(all) != want {
			t.Errorf("%s: %v, %s, want %d", url, err, w.Body, want)
		}
		for _, q := range all {
			if q.Reason != "too ugly" || q.Size != 5 || q.Moved != (q.Folder == "Größe") || q.Since.IsZero() {
				t.Errorf("%s: %+v", url, q)
			}
		}
	}
	for _, url := range []string{"/quarantine?max=0", "/quarantine?max=10001", "/quarantine?max=many"} {
		if w := get(h, url); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "1 to 10000") {
			t.Errorf("%s: %d %s", url, w.Code, w.Body)
		}
	}
}

// dumb is a quarantine whose store is away.
type dumb struct{ inboundtest.State }

func (*dumb) List(context.Context, string, int) ([]inbound.Quarantined, error) {
	return nil, errors.New("the store is away")
}

func TestAQuarantineThatCannotBeRead(t *testing.T) {
	if w := get(inbound.Listing(&dumb{}), "/quarantine"); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "the store is away") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(inbound.Count(&dumb{}))
	if _, err := reg.Gather(); err == nil {
		t.Error("a store that is away counts as an empty quarantine")
	}
}

func TestCount(t *testing.T) {
	want := `# HELP inbound_quarantined_messages Messages that were passed over and wait for a person, of the 10,000 oldest.
# TYPE inbound_quarantined_messages gauge
inbound_quarantined_messages{folder="Größe",mailbox="a@x"} 1
inbound_quarantined_messages{folder="INBOX",mailbox="a@x"} 1
inbound_quarantined_messages{folder="INBOX",mailbox="b@x"} 1
`
	if err := testutil.CollectAndCompare(inbound.Count(noted(t)), strings.NewReader(want)); err != nil {
		t.Error(err)
	}
}
