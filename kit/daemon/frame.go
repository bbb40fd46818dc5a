package daemon

import (
	"errors"
	"log/slog"
	"net/http"
	"runtime"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Frame is what a process has besides its own business. It is safe for use by many goroutines.
type Frame struct {
	Name       string
	ConfigPath string               // the file of -config
	Log        *slog.Logger         // JSON on stderr
	Metrics    *prometheus.Registry // shown at /metrics; has the Go runtime's and the process's already
	Health     *Health              // shown at /readyz

	mux    *http.ServeMux
	mu     sync.Mutex
	reload []func()
	admin  string
}

// NewFrame makes a frame without a process around it: App does, and tests may.
func NewFrame(name string, log *slog.Logger) *Frame {
	f := &Frame{Name: name, Log: log, Metrics: prometheus.NewRegistry(), Health: &Health{}, mux: http.NewServeMux()}
	f.Metrics.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		buildInfo(name),
	)
	f.mux.Handle("GET /metrics", promhttp.HandlerFor(f.Metrics, promhttp.HandlerOpts{
		Registry: f.Metrics, ErrorHandling: promhttp.ContinueOnError, // a store that is away takes its own numbers along, not all
	}))
	f.mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "alive") })
	f.mux.Handle("GET /readyz", f.Health)
	return f
}

func buildInfo(name string) prometheus.Collector {
	g := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "build_info",
		Help:        "Always 1; the labels tell which program this is.",
		ConstLabels: prometheus.Labels{"program": name, "version": version(), "go": runtime.Version()},
	})
	g.Set(1)
	return g
}

// Handle adds a handler to the admin server, before it starts or while it runs. The pattern is http.ServeMux's; the same
// one twice panics.
func (f *Frame) Handle(pattern string, h http.Handler) { f.mux.Handle(pattern, h) }

// Admin is the admin server's handler.
func (f *Frame) Admin() http.Handler { return f.mux }

// AdminAddress is where the admin server listens, host:port with the port that was really taken; empty if it does not.
func (f *Frame) AdminAddress() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.admin
}

// OnReload adds a function to call when the process gets SIGHUP. They are called in order, one at a time.
func (f *Frame) OnReload(fn func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reload = append(f.reload, fn)
}

// Reload calls what OnReload was given.
func (f *Frame) Reload() {
	f.mu.Lock()
	fns := f.reload[:len(f.reload):len(f.reload)]
	f.mu.Unlock()
	for _, fn := range fns {
		fn()
	}
}

var errDraining = errors.New("shutting down")

// drain tells load balancers to look elsewhere.
func (f *Frame) drain() { f.Health.SetReady("running", errDraining) }
