package inbound_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/inbound/inboundtest"
)

// crew is a Fleet over fake servers, one per mailbox and folder.
type crew struct {
	fleet *inbound.Fleet
	sink  *sink
	state *inboundtest.State

	mu    sync.Mutex
	built []string // mailbox/folder after cycle time, in the order of building
}

func newCrew() *crew {
	c := &crew{sink: &sink{}, state: &inboundtest.State{}}
	c.fleet = &inbound.Fleet{
		Protocol: "FAKE", Checkpoints: c.state, Quarantine: c.state, Log: slog.New(slog.DiscardHandler), Board: &inbound.Board{},
		Source: func(s tokenclient.Settings, name string) (inbound.Source, error) {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.built = append(c.built, s.Mailbox+"/"+name)
			return source{&server{kind: byUID}}, nil
		},
		Sink: func(name string) (inbound.Sink, error) {
			if name != "default" {
				return nil, errors.New("no such sink: " + name)
			}
			return c.sink, nil
		},
	}
	return c
}

func (c *crew) sources() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(slices.Values(c.built))
}

// states are mailbox/folder=state of all folders.
func (c *crew) states() (all []string) {
	for _, s := range c.fleet.Board.List() {
		all = append(all, s.Mailbox+"/"+s.Folder+"="+s.State)
	}
	return all
}

func box(address string, folders ...string) tokenclient.Settings {
	return tokenclient.Settings{Mailbox: address, Inbound: tokenclient.InboundSettings{
		Folders: folders, CycleTime: time.Minute, DeliverTo: "default", Junk: tokenclient.JunkIgnore,
	}}
}

func mustBe(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func TestTheFleetFollowsTheSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrew()
		ctx, cancel := context.WithCancel(t.Context())
		settle := func() { time.Sleep(time.Minute); synctest.Wait() }

		a, b := box("a", "INBOX", "Orders"), box("b", "INBOX")
		c.fleet.Set(ctx, []tokenclient.Settings{a, b})
		settle()
		mustBe(t, "at first", c.states(), "a/INBOX=waiting", "a/Orders=waiting", "b/INBOX=waiting")

		c.fleet.Set(ctx, []tokenclient.Settings{a, b})
		settle()
		mustBe(t, "built", c.sources(), "a/INBOX", "a/Orders", "b/INBOX") // nothing changed, nothing restarted

		b.Inbound.CycleTime = time.Hour
		b.Inbound.Junk = tokenclient.JunkRead
		c.fleet.Set(ctx, []tokenclient.Settings{b})
		settle()
		mustBe(t, "after a change", c.states(), `b/INBOX=waiting`, `b/\Junk=waiting`)
		mustBe(t, "built", c.sources(), "a/INBOX", "a/Orders", "b/INBOX", "b/INBOX", `b/\Junk`)

		c.fleet.Set(ctx, nil)
		c.fleet.Set(ctx, []tokenclient.Settings{a}) // back before the old ones have ended
		settle()
		mustBe(t, "after a return", c.states(), "a/INBOX=waiting", "a/Orders=waiting")
		cancel()
		c.fleet.Wait()
		mustBe(t, "in the end", c.states())
	})
}

func TestAnUnknownSinkIsToldAndHarmsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrew()
		ctx, cancel := context.WithCancel(t.Context())
		bad := box("bad", "INBOX")
		bad.Inbound.DeliverTo = "helpdesk"
		c.fleet.Set(ctx, []tokenclient.Settings{bad, box("good", "INBOX")})
		time.Sleep(time.Second)
		synctest.Wait()
		mustBe(t, "states", c.states(), "bad/INBOX=failing", "good/INBOX=waiting")
		if f := c.fleet.Board.List()[0].Failure; f == nil || !strings.Contains(f.Text, "helpdesk") {
			t.Errorf("failure %+v does not name the sink", f)
		}
		cancel()
		c.fleet.Wait()
	})
}

func TestTwoFleetsShareTheMailboxes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := newCrew(), newCrew()
		two.fleet.Checkpoints = one.state
		ctxOne, stopOne := context.WithCancel(t.Context())
		ctxTwo, stopTwo := context.WithCancel(t.Context())
		all := []tokenclient.Settings{box("a", "INBOX")}
		one.fleet.Set(ctxOne, all)
		synctest.Wait()
		two.fleet.Set(ctxTwo, all)
		time.Sleep(time.Hour)
		synctest.Wait()
		mustBe(t, "the first", one.states(), "a/INBOX=waiting")
		mustBe(t, "the second", two.states(), "a/INBOX=elsewhere")
		stopOne()
		one.fleet.Wait()
		time.Sleep(time.Minute)
		synctest.Wait()
		mustBe(t, "the second, alone", two.states(), "a/INBOX=waiting")
		stopTwo()
		two.fleet.Wait()
	})
}

func TestAThousandMailboxesStartAndStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrew()
		ctx, cancel := context.WithCancel(t.Context())
		var all []tokenclient.Settings
		for i := range 1000 {
			all = append(all, box(strings.Repeat("x", i+1), "INBOX"))
		}
		c.fleet.Set(ctx, all)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		for _, s := range c.fleet.Board.List() {
			if s.State != "waiting" {
				t.Fatalf("%d characters: %s", len(s.Mailbox), s.State)
			}
		}
		cancel()
		c.fleet.Wait()
	})
}

// crowded counts how many folders are listed at a time.
type crowded struct {
	inbound.Source
	now, most *atomic.Int32
}

func (c crowded) List(ctx context.Context, after inbound.Cursor, limit int) (inbound.Page, error) {
	n := c.now.Add(1)
	defer c.now.Add(-1)
	for most := c.most.Load(); n > most && !c.most.CompareAndSwap(most, n); most = c.most.Load() {
	}
	time.Sleep(time.Second) // a slow server
	return c.Source.List(ctx, after, limit)
}

// TestAFewAtATime: many folders take turns, and each has its turn.
func TestAFewAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrew()
		var now, most atomic.Int32
		c.fleet.Options.Cycles = 5
		c.fleet.Source = func(tokenclient.Settings, string) (inbound.Source, error) {
			return crowded{source{&server{kind: byUID}}, &now, &most}, nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		c.fleet.Set(ctx, boxes(50))
		time.Sleep(11 * time.Second)
		synctest.Wait()
		for _, s := range c.states() {
			if !strings.HasSuffix(s, "=waiting") {
				t.Errorf("%s had no turn", s)
			}
		}
		if most.Load() != 5 {
			t.Errorf("%d folders were listed at a time, want 5", most.Load())
		}
		cancel()
		c.fleet.Wait()
	})
}
