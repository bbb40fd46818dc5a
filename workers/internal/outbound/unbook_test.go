package outbound_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/outbound/outboundtest"
)

var (
	daily    = tokenclient.Limit{Unit: tokenclient.Recipients, Most: 10, Window: 24 * time.Hour}
	messages = tokenclient.Limit{Unit: tokenclient.Messages, Most: 10, Window: 24 * time.Hour}
	rate     = tokenclient.Limit{Unit: tokenclient.Messages, Most: perMinute, Window: time.Minute}
)

// limited starts a worker whose mailbox has these limits.
func limited(t *testing.T, box *outboundtest.Memory, l outbound.Ledger, tr outbound.Transport, limits ...tokenclient.Limit) {
	t.Helper()
	set := settings(support, connections)
	set.Outbound.Limits = limits
	s := &outbound.Sender{Protocol: "SMTP", Outbox: box, Ledger: l, Log: quiet, Transport: func(tokenclient.Settings) (outbound.Transport, error) { return tr, nil }}
	s.Set([]tokenclient.Settings{set})
	send(t, s)
}

// TestAnOutageUsesNothingUp: mail that was tried a dozen times while the provider was away, or while somebody had to mend the
// credential, goes out when that is over.
func TestAnOutageUsesNothingUp(t *testing.T) {
	for name, err := range map[string]error{
		"the server is away":    errors.New("connection refused"),
		"somebody must act":     reply(fault.Auth, "535 5.7.3 authentication unsuccessful"),
		"the server wants time": reply(fault.Throttled, "432 4.3.2 slow down"),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				box, f := &outboundtest.Memory{}, newFar()
				f.fails(err)
				limited(t, box, &outboundtest.Counter{}, transport{f, support}, daily, messages)
				for _, to := range []string{ann, bob, "carl@elsewhere.example"} {
					submit(t, box, support, to)
				}
				after(2 * time.Hour)
				if offers, _ := f.counts(); offers < int(daily.Most) {
					t.Fatalf("only %d offers", offers)
				}
				f.fails(nil)
				after(3 * time.Hour)
				empty(t, box)
			})
		})
	}
}

// TestWhatCounts: what the provider took or may have taken, and how often it was asked.
func TestWhatCounts(t *testing.T) {
	no := reply(fault.Permanent, "550 5.1.1 no such user")
	for name, c := range map[string]struct {
		receipt                    outbound.Receipt
		err                        error
		recipients, messages, rate int64
	}{
		"sent":                        {outbound.Receipt{}, nil, 2, 1, 1},
		"one was refused":             {outbound.Receipt{Refused: []outbound.Refusal{{Address: ann, Err: no}}}, nil, 1, 1, 1},
		"refused":                     {outbound.Receipt{}, no, 0, 0, 1},
		"in doubt":                    {outbound.Receipt{}, reply(fault.InDoubt, "cut"), 2, 1, 1},
		"one was refused, then a cut": {outbound.Receipt{Refused: []outbound.Refusal{{Address: ann, Err: no}}}, reply(fault.InDoubt, "cut"), 1, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T) {
				box, l, f := &outboundtest.Memory{}, &outboundtest.Counter{}, newFar()
				f.says(func(context.Context, string, mail.Envelope) (outbound.Receipt, error) { return c.receipt, c.err })
				limited(t, box, l, transport{f, support}, daily, messages, rate)
				submit(t, box, support, ann, bob)
				after(time.Second)
				wantUsage(t, l, []tokenclient.Limit{daily, messages, rate}, c.recipients, c.messages, c.rate)
			})
		})
	}
}

func wantUsage(t *testing.T, l outbound.Ledger, limits []tokenclient.Limit, want ...int64) {
	t.Helper()
	u, err := l.Usage(t.Context(), support, limits)
	if err != nil {
		t.Fatal(err)
	}
	for i, parts := range u.Sent {
		var sum int64
		for _, n := range parts {
			sum += n
		}
		if sum != want[i] {
			t.Errorf("%d %s in %v count, want %d", sum, limits[i].Unit, limits[i].Window, want[i])
		}
	}
}

// TestWhatCountsOfADraft: one that was refused counts for nothing, one that was sent later counts once.
func TestWhatCountsOfADraft(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		box, l := &outboundtest.Memory{}, &outboundtest.Counter{}
		d := drafter{&desk{drafts: map[string]outbound.Fate{}, refuses: reply(fault.Temporary, "503")}}
		limited(t, box, l, d, daily, messages)
		submit(t, box, support, ann, bob)
		after(time.Second)
		wantUsage(t, l, []tokenclient.Limit{daily, messages}, 0, 0)
		after(time.Minute)
		empty(t, box)
		wantUsage(t, l, []tokenclient.Limit{daily, messages}, 2, 1)
	})
}
