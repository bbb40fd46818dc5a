package service

import (
	"testing"
	"testing/synctest"
	"time"

	"mailporter/broker/internal/directory"
	"mailporter/kit/secret"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

func TestARefusedPasswordIsKeptBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p passwords
		s := &directory.Section{Mailbox: "a@x.org", Direction: directory.Outbound, Password: secret.New("one")}
		other := &directory.Section{Mailbox: "a@x.org", Direction: directory.Inbound, Password: secret.New("one")}
		began := time.Now()
		for _, want := range []time.Duration{firstWait, 2 * firstWait, 4 * firstWait, 8 * firstWait, 16 * firstWait, lastWait, lastWait} {
			if _, held := p.held(s, time.Now()); held {
				t.Fatal("it is kept back for longer than was said")
			}
			if got := p.refuse(s, time.Now()); got != want {
				t.Fatalf("kept back for %v, want %v", got, want)
			}
			time.Sleep(want - time.Second)
			if got := p.refuse(s, time.Now()); got != time.Second {
				t.Fatalf("a second report of the same try adds up: %v", got)
			}
			r, held := p.held(s, time.Now())
			if !held || !r.since.Equal(began) {
				t.Fatalf("%+v, %v: not kept back", r, held)
			}
			time.Sleep(time.Second)
		}
		p.refuse(s, time.Now())
		if _, held := p.held(other, time.Now()); held {
			t.Fatal("the other side's password is kept back, too")
		}
		s.Password = secret.New("two")
		if _, held := p.held(s, time.Now()); held {
			t.Fatal("a changed password is kept back")
		}
		if got := p.refuse(s, time.Now()); got != firstWait {
			t.Fatalf("a changed password starts with %v", got)
		}
	})
}

func TestARefusedPasswordShows(t *testing.T) {
	now := time.Now()
	var out brokerv1.MailboxStatus
	refusedPassword{since: now, until: now.Add(time.Hour)}.show(&out)
	if out.GetState() != brokerv1.State_STATE_WAITING || out.GetReason() != passwordReason || out.GetRemedy() == "" ||
		!out.GetNextAttemptTime().AsTime().Equal(now.Add(time.Hour)) {
		t.Fatal(out.GetReason(), out.GetState())
	}
}
