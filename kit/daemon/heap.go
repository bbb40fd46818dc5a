package daemon

import (
	"os"
	"runtime"
	"runtime/debug"
)

// mostPercent bounds what SpareHeap sets: a heap that grows afterwards must not grow to many times its size.
const mostPercent = 400

// SpareHeap lets about so many bytes of garbage pile up between collections where the live heap is smaller than that. By
// itself Go collects whenever the heap has doubled: a program that keeps a few megabytes and makes hundreds of them a
// second spends its time marking the same few again and again. Call it when the live heap has its usual size: after the
// configuration was read, and after it was read anew. It collects once and gives the memory back that reading took, which
// is many times what is kept. Who sets GOGC decides alone about collections; GOMEMLIMIT holds.
func SpareHeap(bytes uint64) {
	debug.FreeOSMemory()
	if os.Getenv("GOGC") != "" {
		return
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	debug.SetGCPercent(sparing(m.HeapAlloc, bytes))
}

// sparing is the percentage by which a live heap may grow to hold that much garbage.
func sparing(live, bytes uint64) int {
	return int(min(max(100, bytes*100/max(1, live)), mostPercent))
}
