package outbound_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/outbound/outboundtest"
)

// slow is a far that takes a second for each message.
func slow() *far {
	f := newFar()
	f.says(func(context.Context, string, mail.Envelope) (outbound.Receipt, error) {
		<-time.After(time.Second) // virtual
		return outbound.Receipt{}, nil
	})
	return f
}

// full is a store where so many messages of one mailbox wait.
func full(t *testing.T, messages int) *outboundtest.Memory {
	t.Helper()
	box := &outboundtest.Memory{}
	for range messages {
		submit(t, box, support, ann)
	}
	return box
}

// A backlog is worked off without asking for each message apart: that costs a commit.
func TestBacklogIsClaimedBySettling(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		box := full(t, 30)
		var claims atomic.Int64
		box.Before = func(step string) error {
			if step == "claim" {
				claims.Add(1)
			}
			return nil
		}
		f := slow()
		run(t, box, f, settings(support, 3))
		after(0)
		before := claims.Load()
		after(9*time.Second + time.Millisecond)
		if n := claims.Load() - before; n != 0 {
			t.Errorf("%d claims for 27 messages", n)
		}
		after(time.Minute)
		empty(t, box)
		if offers, _ := f.counts(); f.peak[support] != 3 || offers != 30 {
			t.Errorf("%d offers, %d side by side", offers, f.peak[support])
		}
	})
}

// What is claimed is begun: after an orderly end nothing that nobody has begun comes back in doubt.
func TestStoppedClaimsNoMore(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := run(t, full(t, 30), slow(), settings(support, 3))
		after(time.Second / 2)
		b.stop()
		if offers, _ := b.far.counts(); offers != 3 {
			t.Errorf("%d offers, want 3", offers)
		}
		if n := b.box.States(); n[outbound.Queued] != 27 || len(n) != 1 {
			t.Errorf("states %v, want 27 queued", n)
		}
	})
}

// A mailbox that is paused claims nothing by what still runs in it.
func TestPausedClaimsNoMore(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFar()
		var offers atomic.Int64
		f.says(func(context.Context, string, mail.Envelope) (outbound.Receipt, error) {
			if offers.Add(1) == 1 {
				return outbound.Receipt{}, reply(fault.Auth, "535")
			}
			<-time.After(time.Second)
			return outbound.Receipt{}, nil
		})
		b := run(t, full(t, 30), f, settings(support, 3))
		after(30 * time.Second)
		if n := offers.Load(); n != 3 {
			t.Errorf("%d offers, want 3", n)
		}
		if n := b.box.States(); n[outbound.Sending] != 0 || n[outbound.Queued] != 27 {
			t.Errorf("states %v", n)
		}
		after(2 * time.Minute)
		empty(t, b.box)
	})
}

// New settings count from the next message on, though the mailbox is never idle.
func TestChangedSettingsCountForTheNext(t *testing.T) {
	for name, c := range map[string]struct{ before, after int }{"more connections": {1, 4}, "fewer": {4, 1}} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				f := slow()
				b := run(t, full(t, 60), f, settings(support, c.before))
				after(time.Second / 2)
				b.Set([]tokenclient.Settings{settings(support, c.after)})
				after(time.Second)
				first, _ := f.counts()
				after(10 * time.Second)
				if last, _ := f.counts(); last-first != 10*c.after || f.closed != 1 {
					t.Errorf("%d messages in 10 s, want %d; %d transports closed", last-first, 10*c.after, f.closed)
				}
			})
		})
	}
}

// A mailbox that is taken away claims nothing by what still runs in it.
func TestRemovedClaimsNoMore(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		b := run(t, full(t, 30), slow(), settings(support, 3))
		after(time.Second / 2)
		b.Set(nil)
		after(time.Minute)
		if n := b.box.States(); n[outbound.Queued] != 27 || len(n) != 1 {
			t.Errorf("states %v, want 27 queued", n)
		}
	})
}
