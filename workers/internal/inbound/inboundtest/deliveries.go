package inboundtest

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"mailporter/workers/internal/inbound"
)

// Deliveries tests an implementation. fresh is as for Checkpoints.
func Deliveries(t *testing.T, fresh func(t *testing.T) (open func(t *testing.T) inbound.Deliveries)) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, func(*testing.T) inbound.Deliveries){
		"what was noted is there, and nothing else": deliveriesKnown,
		"noting again is no error":                  deliveriesTwice,
		"it survives a restart":                     deliveriesSurvive,
		"many note side by side":                    deliveriesParallel,
	} {
		t.Run(name, func(t *testing.T) { test(t, fresh(t)) })
	}
}

func noted(t *testing.T, d inbound.Deliveries, id string) {
	t.Helper()
	if err := d.Note(t.Context(), id); err != nil {
		t.Fatalf("note %q: %v", id, err)
	}
}

func mustKnow(t *testing.T, d inbound.Deliveries, id string, want bool) {
	t.Helper()
	if got, err := d.Has(t.Context(), id); err != nil || got != want {
		t.Errorf("Has(%q) = %t, %v, want %t", id, got, err, want)
	}
}

func deliveriesKnown(t *testing.T, open func(*testing.T) inbound.Deliveries) {
	d := open(t)
	mustKnow(t, d, "a", false)
	noted(t, d, "a")
	mustKnow(t, d, "a", true)
	mustKnow(t, d, "A", false)
	mustKnow(t, d, strings.Repeat("a", 40), false)
	mustKnow(t, d, "", false)
}

func deliveriesTwice(t *testing.T, open func(*testing.T) inbound.Deliveries) {
	d := open(t)
	noted(t, d, "a")
	noted(t, d, "a")
	mustKnow(t, d, "a", true)
}

func deliveriesSurvive(t *testing.T, open func(*testing.T) inbound.Deliveries) {
	noted(t, open(t), "a")
	mustKnow(t, open(t), "a", true)
}

func deliveriesParallel(t *testing.T, open func(*testing.T) inbound.Deliveries) {
	d := open(t)
	var all sync.WaitGroup
	for i := range 32 {
		all.Go(func() {
			if err := d.Note(t.Context(), fmt.Sprint(i%20)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for i := range 20 {
		mustKnow(t, d, fmt.Sprint(i), true)
	}
}
