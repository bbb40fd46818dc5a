package outboundtest

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"mailporter/workers/internal/outbound"
)

func getOne(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	add(t, o, letter(sales, bob))
	id := add(t, o, letter(support, ann, bob))
	settle(t, o, claim(t, o, 9, 1, long, support)[0], outbound.Verdict{Sent: []string{ann}, Later: []outbound.Failure{{Address: bob, Reason: "451"}}, At: time.Now().Add(long)})
	got, err := o.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range list(t, o) {
		if m.ID == id && !reflect.DeepEqual(m, got) {
			t.Errorf("%+v, and in the list %+v", got, m)
		}
	}
	if got.Mailbox != support || len(got.Recipients) != 2 || got.Recipients[1].Reason != "451" {
		t.Errorf("%+v", got)
	}
	for _, unknown := range []string{"", "0", "nobody knows", id + "0", "../" + id} {
		if _, err := o.Get(t.Context(), unknown); !errors.Is(err, outbound.ErrNone) {
			t.Errorf("%q: %v", unknown, err)
		}
	}
}

// mustRetry tries a message again.
func mustRetry(t *testing.T, o outbound.Outbox, id string) {
	t.Helper()
	if err := o.Retry(t.Context(), id); err != nil {
		t.Fatalf("retry: %v", err)
	}
}

func retryDead(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	id := add(t, o, letter(support, ann, bob))
	settle(t, o, claimOne(t, o, long), outbound.Verdict{Sent: []string{ann}, Dead: []outbound.Failure{{Address: bob, Reason: "550 no"}}})
	mustRetry(t, o, id)
	if got := states(t, o); got != ann+" sent; "+bob+" queued" {
		t.Error(got)
	}
	o = open(t)
	j := claimOne(t, o, long)
	if j.ID != id || len(j.Envelope.Recipients) != 1 || j.Envelope.Recipients[0].Address != bob || j.Attempts != 0 || j.InDoubt || len(body(t, o, j)) == 0 {
		t.Errorf("job %+v", j)
	}
	settle(t, o, j, outbound.Verdict{Sent: []string{bob}})
	if len(list(t, o)) != 0 {
		t.Error("it is still there")
	}
	if err := o.Retry(t.Context(), id); !errors.Is(err, outbound.ErrNone) {
		t.Errorf("what was sent is tried again: %v", err)
	}
}

func retryHeld(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	id := add(t, o, letter(support, ann))
	j := claimOne(t, o, long)
	if err := o.Drafted(t.Context(), j, "draft"); err != nil {
		t.Fatal(err)
	}
	settle(t, o, j, outbound.Verdict{Later: []outbound.Failure{{Address: ann, Reason: "cut"}}, Doubt: true, Held: true})
	mustRetry(t, o, id)
	if j = claimOne(t, o, long); j.ID != id || j.InDoubt || j.Draft != "draft" { // the draft still tells whether it was sent
		t.Errorf("job %+v", j)
	}
}

func retryWaiting(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	id := add(t, o, letter(support, ann))
	before := list(t, o)[0].Accepted
	settle(t, o, claimOne(t, o, long), outbound.Verdict{Later: []outbound.Failure{{Address: ann, Reason: "451"}}, At: time.Now().Add(long)})
	mustRetry(t, o, id)
	if j := claimOne(t, o, long); j.Attempts != 0 || j.Accepted.Before(before) {
		t.Errorf("job %+v", j)
	}
}

func dropped(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	id := add(t, o, letter(support, ann))
	stays := add(t, o, letter(support, bob))
	if err := o.Drop(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if all := list(t, open(t)); len(all) != 1 || all[0].ID != stays {
		t.Errorf("list %+v", all)
	}
	o = open(t)
	for _, err := range []error{o.Drop(t.Context(), id), o.Retry(t.Context(), id)} {
		if !errors.Is(err, outbound.ErrNone) {
			t.Errorf("after it was dropped: %v", err)
		}
	}
	if j := claimOne(t, o, long); j.ID != stays {
		t.Errorf("job %+v", j)
	}
}

func claimedIsLeftAlone(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	id := add(t, o, letter(support, ann))
	j := claimOne(t, o, long)
	for _, err := range []error{o.Drop(t.Context(), id), o.Retry(t.Context(), id)} {
		if !errors.Is(err, outbound.ErrClaimed) {
			t.Errorf("while it is being sent: %v", err)
		}
	}
	settle(t, o, j, outbound.Verdict{Sent: []string{ann}})
}
