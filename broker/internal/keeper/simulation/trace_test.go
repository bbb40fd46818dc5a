package simulation

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// trace is what happened in a run, and what must not have happened.
type trace struct {
	start time.Time

	mu     sync.Mutex
	events []event
	faults []string
}

type event struct {
	at   time.Duration // since the start of the world
	text string
}

func (e event) String() string { return fmt.Sprintf("%14s  %s", e.at, e.text) }

// note writes down an event. It must hold no secret: traces get printed.
func (t *trace) note(format string, args ...any) {
	e := event{time.Since(t.start), fmt.Sprintf(format, args...)}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.events = append(t.events, e)
}

// fault writes down that something is true that must not be.
func (t *trace) fault(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	t.note("!! %s", text)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.faults = append(t.faults, text)
}

func (t *trace) failed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.faults) > 0
}

// sorted are the events in an order that does not depend on which goroutine came first at one moment.
func (t *trace) sorted() []event {
	t.mu.Lock()
	defer t.mu.Unlock()
	slices.SortStableFunc(t.events, func(a, b event) int {
		return cmp.Or(cmp.Compare(a.at, b.at), strings.Compare(a.text, b.text))
	})
	return t.events
}

// shownBefore is how many events are shown before the first fault; SIM_TRACE changes it.
var shownBefore = 60

const shownAfter = 5

func init() {
	if n, err := strconv.Atoi(os.Getenv("SIM_TRACE")); err == nil {
		shownBefore = n
	}
}

// String is the part of the trace around the first fault.
func (t *trace) String() string {
	all := t.sorted()
	first := slices.IndexFunc(all, func(e event) bool { return strings.HasPrefix(e.text, "!!") })
	if first < 0 {
		first = len(all) - 1
	}
	return excerpt(all, first)
}

// excerpt is the part of the events around one of them.
func excerpt(all []event, around int) string {
	var b strings.Builder
	for _, e := range all[max(0, around-shownBefore):min(len(all), around+1+shownAfter)] {
		fmt.Fprintln(&b, e)
	}
	return b.String()
}
