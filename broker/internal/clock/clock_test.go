package clock

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

const margin = 10 * time.Second

// watched is a Guard with its log.
type watched struct {
	*Guard
	log bytes.Buffer
}

func watch(ask map[string]func(context.Context) (time.Time, error)) *watched {
	w := &watched{}
	w.Guard = New(Config{Margin: func() time.Duration { return margin }, Ask: ask, Metrics: prometheus.NewRegistry(),
		Log: slog.New(slog.NewTextHandler(&w.log, nil))})
	return w
}

// date is a reading of a Date header from a clock that is off by so much, after a round trip of 200 ms.
func (w *watched) date(off time.Duration) {
	time.Sleep(time.Second)
	sent := time.Now()
	time.Sleep(100 * time.Millisecond)
	told := time.Now().Add(-off).Truncate(time.Second)
	time.Sleep(100 * time.Millisecond)
	w.Heard("microsoft", Reading{Sent: sent, Received: time.Now(), Told: told, Resolution: time.Second})
}

func (w *watched) lines() []string {
	var all []string
	for line := range strings.Lines(w.log.String()) {
		_, rest, _ := strings.Cut(line, "level=")
		word, _, _ := strings.Cut(rest, " ")
		all = append(all, word)
	}
	return all
}

func TestLevels(t *testing.T) {
	for name, tc := range map[string]struct {
		off   []time.Duration
		want  string // levels of the log lines
		alarm float64
	}{
		"right":                           {[]time.Duration{0, 0, 0}, "", 0},
		"a second off":                    {[]time.Duration{time.Second, -time.Second}, "", 0},
		"ahead":                           {[]time.Duration{4 * time.Second, 4 * time.Second}, "WARN", 0},
		"behind":                          {[]time.Duration{-4 * time.Second}, "WARN", 0},
		"half the margin":                 {[]time.Duration{6 * time.Second, 6 * time.Second}, "ERROR", 1},
		"far behind":                      {[]time.Duration{-time.Hour}, "ERROR", 1},
		"set right":                       {[]time.Duration{-time.Hour, 0}, "ERROR INFO", 0},
		"drifting":                        {[]time.Duration{0, 4 * time.Second, 7 * time.Second, 4 * time.Second, 0}, "WARN ERROR WARN INFO", 0},
		"hovering where a warning begins": {[]time.Duration{4 * time.Second, 2900 * time.Millisecond, 4 * time.Second, 2900 * time.Millisecond}, "WARN", 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := watch(nil)
				for _, off := range tc.off {
					w.date(off)
				}
				if got := strings.Join(w.lines(), " "); got != tc.want || testutil.ToFloat64(w.alarm) != tc.alarm {
					t.Fatalf("log %q, want %q; alarm %v\n%s", got, tc.want, testutil.ToFloat64(w.alarm), w.log.String())
				}
			})
		})
	}
}

// A Date header has whole seconds; several of them, at different parts of a second, tell more than one.
func TestManyReadingsTellMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(nil)
		const off = 1700 * time.Millisecond
		for range remembered {
			time.Sleep(130 * time.Millisecond)
			w.date(off)
		}
		if got := testutil.ToFloat64(w.offset.WithLabelValues("microsoft")); got < 1.5 || got > 1.9 {
			t.Fatalf("offset %v", got)
		}
	})
}

// A slow answer leaves much open: what may be the journey is no alarm.
func TestSlowAnswersAreNoAlarm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(nil)
		sent := time.Now()
		time.Sleep(20 * time.Second)
		w.Heard("google", Reading{Sent: sent, Received: time.Now(), Told: sent.Truncate(time.Second), Resolution: time.Second})
		if w.log.Len() > 0 {
			t.Fatal(w.log.String())
		}
	})
}

func TestAsksEveryMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked, off atomic.Int64
		w := watch(map[string]func(context.Context) (time.Time, error){
			"redis": func(context.Context) (time.Time, error) {
				if asked.Add(1) == 2 {
					return time.Time{}, errors.New("away")
				}
				return time.Now().Add(time.Duration(off.Load())), nil
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.Run(ctx)
		}()
		synctest.Wait()
		if got := testutil.ToFloat64(w.offset.WithLabelValues("redis")); got != 0 || asked.Load() != 1 {
			t.Fatalf("offset %v after %d looks", got, asked.Load())
		}
		off.Store(int64(8 * time.Second))
		time.Sleep(2*time.Minute + time.Second)
		synctest.Wait()
		if got := testutil.ToFloat64(w.offset.WithLabelValues("redis")); got != -8 || testutil.ToFloat64(w.alarm) != 1 {
			t.Fatalf("offset %v, alarm %v", got, testutil.ToFloat64(w.alarm))
		}
		cancel()
		<-done
	})
}
