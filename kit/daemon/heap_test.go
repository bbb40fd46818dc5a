package daemon

import (
	"runtime/debug"
	"testing"
)

func TestSparing(t *testing.T) {
	const mb = 1 << 20
	for name, tc := range map[string]struct {
		live, bytes uint64
		want        int
	}{
		"small":               {20 * mb, 60 * mb, 300},
		"as large":            {60 * mb, 60 * mb, 100},
		"larger":              {600 * mb, 60 * mb, 100},
		"tiny: not unbounded": {1 * mb, 60 * mb, mostPercent},
		"nothing":             {0, 60 * mb, mostPercent},
	} {
		t.Run(name, func(t *testing.T) {
			if got := sparing(tc.live, tc.bytes); got != tc.want {
				t.Errorf("got %d, want %d", got, tc.want)
			}
		})
	}
}

func TestSpareHeapLeavesTheChoice(t *testing.T) {
	before := debug.SetGCPercent(77)
	defer debug.SetGCPercent(before)
	t.Setenv("GOGC", "77")
	SpareHeap(1 << 40)
	if got := debug.SetGCPercent(77); got != 77 {
		t.Errorf("GOGC is set to 77, and the collector to %d", got)
	}
	t.Setenv("GOGC", "")
	SpareHeap(1 << 40)
	if got := debug.SetGCPercent(77); got != mostPercent {
		t.Errorf("the collector is set to %d", got)
	}
}
