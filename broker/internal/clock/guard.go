package clock

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// askEvery is the time between two looks at clocks that must be asked.
const askEvery = time.Minute

// askTime bounds one look: an answer that takes longer says nothing about the time.
const askTime = 3 * time.Second

// Config is what a Guard is made of.
type Config struct {
	// Margin is the smallest expiry margin in use, asked at every reading. The alarm goes off at half of it.
	Margin func() time.Duration
	// Ask has the clocks that do not come by themselves: "redis". An error is not logged: whoever uses that system does.
	Ask     map[string]func(context.Context) (time.Time, error)
	Log     *slog.Logger
	Metrics prometheus.Registerer // nil: not counted
}

// Guard compares our clock with others. Its methods may be called from any number of goroutines.
type Guard struct {
	Config
	offset *prometheus.GaugeVec
	alarm  prometheus.Gauge

	mu     sync.Mutex
	clocks map[string]*other
}

// other is another clock.
type other struct {
	memory
	level level
}

// New makes a Guard.
func New(c Config) *Guard {
	g := &Guard{Config: c, clocks: map[string]*other{},
		offset: prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "broker_clock_offset_seconds",
			Help: "How much the broker's clock is ahead of another, as far as can be told; negative: behind."}, []string{"against"}),
		alarm: prometheus.NewGauge(prometheus.GaugeOpts{Name: "broker_clock_alarm",
			Help: "1 while the broker's clock is off by half of the smallest margin or more, against any other clock."}),
	}
	if c.Metrics != nil {
		c.Metrics.MustRegister(g.offset, g.alarm)
	}
	return g
}

// Run asks the clocks that must be asked, at once and every minute, until ctx ends.
func (g *Guard) Run(ctx context.Context) {
	tick := time.NewTicker(askEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		for against, ask := range g.Ask {
			g.ask(ctx, against, ask)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

func (g *Guard) ask(ctx context.Context, against string, ask func(context.Context) (time.Time, error)) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	sent := time.Now()
	if told, err := ask(ctx); err == nil {
		g.Heard(against, Reading{Sent: sent, Received: time.Now(), Told: told})
	}
}

// Heard takes a reading of the clock of that name.
func (g *Guard) Heard(against string, r Reading) {
	limit := g.Margin() / 2
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.clocks[against]
	if c == nil {
		c = &other{}
		g.clocks[against] = c
	}
	c.memory = c.with(r.interval())
	best := c.best()
	g.offset.WithLabelValues(against).Set(best.middle().Seconds())
	if now := judge(best.atLeast(), limit, c.level); now != c.level {
		g.tell(against, now, best.middle(), limit)
		c.level = now
	}
	g.alarm.Set(g.worst())
}

// worst is 1 while any clock alarms.
func (g *Guard) worst() float64 {
	for _, c := range g.clocks {
		if c.level == alarming {
			return 1
		}
	}
	return 0
}

const remedy = "check the time synchronisation of this machine (timedatectl, chronyc tracking), and of the other one"

func (g *Guard) tell(against string, l level, offset, limit time.Duration) {
	facts := []any{"against", against, "ahead", offset.Round(time.Millisecond).String(), "alarm-at", limit.String()}
	switch l {
	case alarming:
		g.Log.Error("the clock is off by half of the smallest margin: tokens may be handed out that are over", append(facts, "remedy", remedy)...)
	case warning:
		g.Log.Warn("the clock is off", append(facts, "remedy", remedy)...)
	case fine:
		g.Log.Info("the clock agrees again", facts...)
	}
}

// level is how bad it is.
type level int

const (
	fine level = iota
	warning
	alarming
)

// judge gives the alarm at the limit and warns at half of it. A level that was reached is left only at three quarters of
// where it begins: a clock that hovers there must not fill the log.
func judge(off, limit time.Duration, before level) level {
	now := fine
	for l, begins := range map[level]time.Duration{warning: limit / 2, alarming: limit} {
		if l <= before {
			begins = begins * 3 / 4
		}
		if off >= begins {
			now = max(now, l)
		}
	}
	return now
}
