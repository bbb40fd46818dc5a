package outbound_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/outbound/outboundtest"
)

// TestDrained: how long a backlog takes under a limit of 30 a minute.
func TestDrained(t *testing.T) {
	l := tokenclient.Limit{Unit: tokenclient.Messages, Most: 30, Window: time.Minute}
	now := time.Unix(1_800_000_000, 0)
	half := map[int64]int64{outbound.SlotOf(l, now.Add(-30*time.Second)): 30} // all of them half a minute ago
	for name, c := range map[string]struct {
		sent map[int64]int64
		cost int64
		want time.Duration
	}{
		"nothing waits":             {half, 0, 0},
		"there is room for all":     {nil, 30, 0},
		"one more than fits":        {nil, 31, time.Minute},
		"500":                       {nil, 500, 16 * time.Minute},
		"the window is used up":     {half, 1, 31 * time.Second}, // a sixtieth is the grain
		"and two more behind it":    {half, 61, 2*time.Minute + 31*time.Second},
		"what counts no more":       {map[int64]int64{1: 30}, 30, 0},
		"more than anybody can see": {nil, math.MaxInt64, math.MaxInt64},
	} {
		t.Run(name, func(t *testing.T) {
			if got := outbound.Drained(l, c.sent, c.cost, now); got != c.want {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

// outlook is that of the only mailbox where something waits.
func outlook(t *testing.T, s *outbound.Sender) outbound.Outlook {
	t.Helper()
	all, err := s.Outlooks(t.Context())
	if err != nil || len(all) != 1 {
		t.Fatalf("%+v, %v", all, err)
	}
	return all[0]
}

// TestETAHolds: what is said of 500 messages at 30 a minute is what then happens, at any moment in between.
func TestETAHolds(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		box, p := &outboundtest.Memory{}, &provider{}
		for i := range 500 {
			submit(t, box, support, fmt.Sprintf("%d@elsewhere.example", i))
		}
		s := worker(t, box, &outboundtest.Counter{}, p)
		began := time.Now()
		var said []time.Duration // when the end was said to be
		for box.States()[outbound.Queued]+box.States()[outbound.Deferred]+box.States()[outbound.Sending] > 0 {
			after(time.Minute)
			if all, err := s.Outlooks(t.Context()); err == nil && len(all) == 1 && all[0].Known {
				said = append(said, time.Since(began)+all[0].ETA)
			}
		}
		took := time.Since(began)
		wrong := slices.IndexFunc(said, func(d time.Duration) bool { return (d - took).Abs() > 90*time.Second })
		if wrong >= 0 || len(said) < 10 {
			t.Errorf("it was said to end after %v, and ended after %v", said, took)
		}
	})
}

// TestETAWithoutLimits goes by how long attempts take, and how many run side by side.
func TestETAWithoutLimits(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		box, p := &outboundtest.Memory{}, &provider{} // 700 ms a message, three at a time
		s := &outbound.Sender{Protocol: "SMTP", Outbox: box, Log: quiet, Transport: func(tokenclient.Settings) (outbound.Transport, error) { return p, nil }}
		s.Set([]tokenclient.Settings{settings(support, connections)})
		for i := range 300 {
			submit(t, box, support, fmt.Sprintf("%d@elsewhere.example", i))
		}
		if o := outlook(t, s); o.Known {
			t.Errorf("nobody can know yet: %+v", o)
		}
		send(t, s)
		after(10 * time.Second)
		o := outlook(t, s)
		if want := time.Duration(o.Messages) * 700 * time.Millisecond / connections; !o.Known || (o.ETA-want).Abs() > time.Second {
			t.Errorf("%+v, want %v", o, want)
		}
	})
}

// TestNoETAWhileSomebodyMustAct: the queue grows, and no number pretends that it will be sent.
func TestNoETAWhileSomebodyMustAct(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		box, f := &outboundtest.Memory{}, newFar()
		f.fails(reply(fault.Auth, "535 5.7.139 authentication unsuccessful"))
		s := worker(t, box, &outboundtest.Counter{}, transport{f, support})
		submit(t, box, support, ann)
		after(time.Second)
		if o := outlook(t, s); o.Known || o.Messages != 1 {
			t.Errorf("%+v", o)
		}
		f.fails(nil)
		submit(t, box, support, bob)
		after(2 * time.Minute)
		empty(t, box)
	})
}

// TestAClosedMailboxWaitsLonger: what the provider asked one worker for is in what another one says.
func TestAClosedMailboxWaitsLonger(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		box, l := &outboundtest.Memory{}, &outboundtest.Counter{}
		if err := l.Close(t.Context(), support, time.Now().Add(10*time.Minute), "429"); err != nil {
			t.Fatal(err)
		}
		submit(t, box, support, ann)
		s := worker(t, box, l, &provider{})
		if o := outlook(t, s); !o.Known || (o.ETA-10*time.Minute).Abs() > time.Second {
			t.Errorf("%+v", o)
		}
	})
}

// TestBacklogIsShown: the metrics and the status page say what waits, of mailboxes too that nobody here serves.
func TestBacklogIsShown(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		box := &outboundtest.Memory{}
		for range 45 {
			submit(t, box, support, ann)
		}
		submit(t, box, sales, ann)
		s := worker(t, box, &outboundtest.Counter{}, &provider{})
		after(15 * time.Second)
		if err := testutil.CollectAndCompare(s.Waiting(), strings.NewReader(`
			# HELP outbound_backlog_messages Messages that wait to be sent, those that are being sent included; not the dead, nor what is held.
			# TYPE outbound_backlog_messages gauge
			outbound_backlog_messages{mailbox="sales@contoso.example"} 1
			outbound_backlog_messages{mailbox="support@contoso.example"} 15
			# HELP outbound_backlog_oldest_seconds Age of the oldest of them.
			# TYPE outbound_backlog_oldest_seconds gauge
			outbound_backlog_oldest_seconds{mailbox="sales@contoso.example"} 15
			outbound_backlog_oldest_seconds{mailbox="support@contoso.example"} 15
		`), "outbound_backlog_messages", "outbound_backlog_oldest_seconds"); err != nil {
			t.Error(err)
		}
		page := httptest.NewRecorder()
		s.Board.ServeHTTP(page, httptest.NewRequestWithContext(t.Context(), "GET", "/mailboxes", nil))
		for _, want := range []string{`"not served here"`, `"waiting_messages": 15`, `"oldest_accepted"`, `"eta_seconds": `, `"paused_until"`} {
			if !strings.Contains(page.Body.String(), want) {
				t.Errorf("%s is missing in %s", want, page.Body)
			}
		}
		if n := strings.Count(page.Body.String(), "eta_seconds"); n != 1 {
			t.Errorf("%d mailboxes have an ETA, want that which is served: %s", n, page.Body)
		}
	})
}

// away is an outbox that does not say what waits.
type away struct{ *outboundtest.Memory }

func (away) Backlogs(ctx context.Context) ([]outbound.Backlog, error) {
	return nil, errors.New("redis is away")
}

// TestAStoreThatIsAway leaves the status page without numbers, and says so to who collects metrics.
func TestAStoreThatIsAway(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		box := away{&outboundtest.Memory{}}
		submit(t, box.Memory, support, ann)
		s := worker(t, box, &outboundtest.Counter{}, &provider{})
		if all := s.Board.Overview(t.Context()); len(all) != 1 || all[0].Waiting != 0 {
			t.Errorf("%+v", all)
		}
		reg := prometheus.NewRegistry()
		reg.MustRegister(s.Waiting())
		if _, err := reg.Gather(); err == nil || !strings.Contains(err.Error(), "redis is away") {
			t.Error(err)
		}
	})
}
