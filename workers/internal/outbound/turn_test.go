package outbound_test

import (
	"context"
	"fmt"
	"testing"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/outbound/outboundtest"
)

// takes is a server that takes so many recipients at a time.
func takes(n int) func(context.Context, string, mail.Envelope) (outbound.Receipt, error) {
	return func(_ context.Context, _ string, e mail.Envelope) (r outbound.Receipt, _ error) {
		for _, to := range e.Recipients[min(n, len(e.Recipients)):] {
			r.Refused = append(r.Refused, outbound.Refusal{Address: to.Address, Err: fault.New(fault.Temporary, outbound.ErrNextTurn)})
		}
		return r, nil
	}
}

func crowd(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprintf("r%d@elsewhere.example", i))
	}
	return all
}

// A server that takes ten recipients at a time gets them ten at a time, and nobody waits for a schedule that is meant for
// failures: a thousand recipients would be days on their way.
func TestRecipientsTakeTurns(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFar()
		f.says(takes(10))
		b := run(t, &outboundtest.Memory{}, f, settings(support, 1))
		submit(t, b.box, support, crowd(95)...)
		after(0)
		empty(t, b.box)
		offers, took := f.counts()
		for _, r := range crowd(95) {
			if took[r] != 1 {
				t.Errorf("%s got it %d times", r, took[r])
			}
		}
		if offers != 10 {
			t.Errorf("%d attempts", offers)
		}
	})
}

// Where nobody was taken there is no turn after this one: the message waits as after any refusal.
func TestNobodysTurn(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f := newFar()
		f.says(takes(0))
		b := run(t, &outboundtest.Memory{}, f, settings(support, 1))
		submit(t, b.box, support, ann, bob)
		after(0)
		if offers, _ := f.counts(); offers != 1 {
			t.Errorf("%d attempts", offers)
		}
	})
}
