package daemon

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
)

// Health is the named checks behind /readyz. It is safe for use by many goroutines.
type Health struct {
	mu     sync.Mutex
	checks map[string]error
}

// Check is the state of one named check.
type Check struct {
	Name string
	Err  error // nil = ready
}

var errNotYet = errors.New("not ready yet")

// Expect names checks that are not ready until SetReady says so.
func (h *Health) Expect(names ...string) {
	for _, name := range names {
		h.SetReady(name, errNotYet)
	}
}

// SetReady notes how a check stands; nil is ready. The error is shown to whoever may see /readyz: no secrets.
func (h *Health) SetReady(name string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.checks == nil {
		h.checks = map[string]error{}
	}
	h.checks[name] = err
}

// Checks lists all checks by name.
func (h *Health) Checks() []Check {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []Check
	for name, err := range h.checks {
		all = append(all, Check{name, err})
	}
	slices.SortFunc(all, func(a, b Check) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// Ready says whether there are checks and every one of them is ready. Without any, the program has not come as far as to
// say what it needs: the admin server is there before.
func (h *Health) Ready() bool {
	all := h.Checks()
	return len(all) > 0 && !slices.ContainsFunc(all, func(c Check) bool { return c.Err != nil })
}

// ServeHTTP is /readyz: a line per check, and 503 unless all are ready.
func (h *Health) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	code, lines := http.StatusOK, []string{"ready"}
	all := h.Checks()
	if len(all) == 0 {
		code, lines[0] = http.StatusServiceUnavailable, "not ready: starting"
	}
	for _, c := range all {
		if c.Err == nil {
			lines = append(lines, c.Name+": ok")
			continue
		}
		code, lines[0] = http.StatusServiceUnavailable, "not ready"
		lines = append(lines, fmt.Sprintf("%s: %v", c.Name, c.Err))
	}
	plain(w, code, strings.Join(lines, "\n"))
}

func plain(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = fmt.Fprintln(w, text)
}
