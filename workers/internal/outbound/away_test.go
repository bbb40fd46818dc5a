package outbound_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/outbound/outboundtest"
)

var unreachable = outbound.Unreachable(reply(fault.Temporary, "connection refused"))

// A server that is away is asked by the mailbox, not by each of its messages, and all of them go out soon after it is back.
func TestServerIsAway(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFar()
		f.fails(unreachable)
		b := run(t, &outboundtest.Memory{}, f, settings(support, 3))
		for range 100 {
			submit(t, b.box, support, ann)
		}
		after(time.Minute)
		if offers, _ := f.counts(); offers > 30 {
			t.Errorf("%d attempts in the first minute", offers)
		}
		before, _ := f.counts()
		after(10 * time.Hour)
		offers, _ := f.counts()
		if per := (offers - before) / 10; per < 12 || per > 15 {
			t.Errorf("%d attempts an hour", per)
		}
		f.fails(nil)
		after(6 * time.Minute)
		empty(t, b.box)
	})
}

// A server that lets two at a time begin gets two at a time, and hardly anybody waits for the third.
func TestServerTakesFewer(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFar()
		var begun atomic.Int32
		f.says(func(context.Context, string, mail.Envelope) (outbound.Receipt, error) {
			defer begun.Add(-1)
			if begun.Add(1) > 2 {
				return outbound.Receipt{}, unreachable
			}
			time.Sleep(100 * time.Millisecond)
			return outbound.Receipt{}, nil
		})
		b := run(t, &outboundtest.Memory{}, f, settings(support, 4))
		for range 200 {
			submit(t, b.box, support, ann)
		}
		after(20 * time.Second)
		empty(t, b.box)
		if offers, _ := f.counts(); offers > 210 {
			t.Errorf("%d attempts at 200 messages", offers)
		}
	})
}

// One connection that breaks among others that work makes nobody wait but its message.
func TestServerIsThere(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFar()
		f.fails(unreachable)
		b := run(t, &outboundtest.Memory{}, f, settings(support, 1))
		submit(t, b.box, support, ann)
		after(0)
		f.fails(nil)
		submit(t, b.box, support, bob)
		after(0)
		if _, took := f.counts(); took[bob] != 1 {
			t.Errorf("took %v", took)
		}
		after(5 * time.Second)
		empty(t, b.box)
	})
}

// Mail for a server that stays away is given up as any other.
func TestServerNeverComesBack(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFar()
		f.fails(unreachable)
		b := run(t, &outboundtest.Memory{}, f, settings(support, 1))
		submit(t, b.box, support, ann)
		after(5*24*time.Hour + time.Hour)
		if r := status(t, b.box).Recipients[0]; r.State != outbound.Dead {
			t.Errorf("%+v", r)
		}
	})
}
