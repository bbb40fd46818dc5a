package outboundtest

import (
	"errors"
	"testing"
	"time"

	"mailporter/workers/internal/outbound"
)

func sentLeave(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	add(t, o, letter(support, ann, bob))
	settle(t, o, claimOne(t, o, long), outbound.Verdict{Sent: []string{ann, bob}})
	if all := list(t, o); len(all) != 0 {
		t.Errorf("list %v", all)
	}
	if jobs := claim(t, o, 9, 9, long, support); len(jobs) != 0 {
		t.Errorf("jobs %v", jobs)
	}
}

func deadAreKept(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	add(t, o, letter(support, ann, bob))
	settle(t, o, claimOne(t, o, long), outbound.Verdict{Sent: []string{ann}, Dead: []outbound.Failure{{Address: bob, Reason: "550 5.1.1 no such user"}}})
	if got := states(t, o); got != ann+" sent; "+bob+" dead 550 5.1.1 no such user" {
		t.Error(got)
	}
	if s := list(t, o)[0]; !s.Next.IsZero() || s.Attempts != 1 || s.Mailbox != support || s.From != support || s.Size == 0 || s.Accepted.IsZero() {
		t.Errorf("%+v", s)
	}
	if jobs := claim(t, o, 9, 9, long, support); len(jobs) != 0 {
		t.Errorf("jobs %v", jobs)
	}
	if next, err := o.Next(t.Context(), []string{support}); err != nil || !next.IsZero() {
		t.Errorf("next %v, %v", next, err)
	}
}

func deferredComeBack(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	add(t, o, letter(support, ann))
	at := time.Now().Add(ttl / 4)
	settle(t, o, claimOne(t, o, long), outbound.Verdict{Later: []outbound.Failure{{Address: ann, Reason: "451 later"}}, At: at})
	if got := states(t, o); got != ann+" deferred 451 later" {
		t.Error(got)
	}
	if next, err := o.Next(t.Context(), []string{support}); err != nil || next.Sub(at).Abs() > near {
		t.Errorf("next %v, %v; want %v", next, err, at)
	}
	if j := await(t, o, long); j.Attempts != 1 || j.InDoubt || len(j.Envelope.Recipients) != 1 {
		t.Errorf("job %+v", j)
	}
}

func deferredWait(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	add(t, o, letter(support, ann))
	at := time.Now().Add(long)
	settle(t, o, claimOne(t, o, long), outbound.Verdict{Later: []outbound.Failure{{Address: ann}}, At: at})
	id := add(t, o, letter(support, bob))
	if j := claimOne(t, o, long); j.ID != id {
		t.Error("the deferred one came too early")
	}
	if s := list(t, o)[0]; s.Next.Sub(at).Abs() > near {
		t.Errorf("next %v, want %v", s.Next, at)
	}
}

func ownStates(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	const carl = "carl@elsewhere.example"
	add(t, o, letter(support, ann, bob, carl))
	settle(t, o, claimOne(t, o, long), outbound.Verdict{
		Sent: []string{ann}, Dead: []outbound.Failure{{Address: bob, Reason: "no"}}, Later: []outbound.Failure{{Address: carl, Reason: "wait"}}, At: time.Now(),
	})
	if got := states(t, o); got != ann+" sent; "+bob+" dead no; "+carl+" deferred wait" {
		t.Error(got)
	}
	j := await(t, o, long)
	if len(j.Envelope.Recipients) != 1 || j.Envelope.Recipients[0].Address != carl {
		t.Fatalf("open recipients %v", j.Envelope.Recipients)
	}
	settle(t, o, j, outbound.Verdict{Sent: []string{carl}})
	if got := states(t, o); got != ann+" sent; "+bob+" dead no; "+carl+" sent" {
		t.Error(got)
	}
}

func doubtIsKept(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	add(t, o, letter(support, ann))
	settle(t, o, claimOne(t, o, long), outbound.Verdict{Later: []outbound.Failure{{Address: ann, Reason: "cut"}}, At: time.Now(), Doubt: true})
	if got := states(t, o); got != ann+" unknown cut" {
		t.Error(got)
	}
	if j := await(t, o, long); !j.InDoubt || j.Attempts != 1 {
		t.Errorf("job %+v", j)
	}
}

func doubtEnds(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	add(t, o, letter(support, ann))
	settle(t, o, claimOne(t, o, long), outbound.Verdict{Later: []outbound.Failure{{Address: ann}}, At: time.Now(), Doubt: true})
	settle(t, o, await(t, o, long), outbound.Verdict{Later: []outbound.Failure{{Address: ann, Reason: "451"}}, At: time.Now()})
	if j := await(t, o, long); j.InDoubt || j.Attempts != 2 {
		t.Errorf("job %+v", j)
	}
}

func heldStay(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	add(t, o, letter(support, ann))
	settle(t, o, claimOne(t, o, long), outbound.Verdict{Later: []outbound.Failure{{Address: ann, Reason: "cut"}}, At: time.Now(), Doubt: true, Held: true})
	if jobs := claim(t, o, 9, 9, long, support); len(jobs) != 0 {
		t.Errorf("jobs %v", jobs)
	}
	if next, err := o.Next(t.Context(), []string{support}); err != nil || !next.IsZero() {
		t.Errorf("next %v, %v", next, err)
	}
	if got := states(t, o); got != ann+" unknown cut" || !list(t, o)[0].Next.IsZero() {
		t.Errorf("%s, next %v", got, list(t, o)[0].Next)
	}
}

func freeAttempts(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	add(t, o, letter(support, ann))
	settle(t, o, claimOne(t, o, long), outbound.Verdict{Later: []outbound.Failure{{Address: ann}}, At: time.Now(), Free: true})
	if j := await(t, o, long); j.Attempts != 0 {
		t.Errorf("%d attempts", j.Attempts)
	}
}

// placeIsKept: what waits for its mailbox is the next one still, and shows why it waits.
func placeIsKept(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	first, second := add(t, o, letter(support, ann)), add(t, o, letter(support, bob))
	jobs := claim(t, o, 9, 1, long, support)
	if len(jobs) != 1 || jobs[0].ID != first {
		t.Fatalf("jobs %v", jobs)
	}
	settle(t, o, jobs[0], outbound.Verdict{Later: []outbound.Failure{{Address: ann, Reason: "used up"}}, At: time.Now().Add(long), Free: true, Stays: true})
	if r := list(t, o)[0].Recipients[0]; r.State != outbound.Deferred || r.Reason != "used up" {
		t.Errorf("%+v", r)
	}
	if next, err := o.Next(t.Context(), []string{support}); err != nil || time.Until(next) > near {
		t.Errorf("next %v, %v", next, err)
	}
	if jobs = claim(t, o, 9, 9, long, support); len(jobs) != 2 || jobs[0].ID != first || jobs[1].ID != second {
		t.Errorf("jobs %v", jobs)
	}
}

func lapsedClaim(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	id := add(t, o, letter(support, ann))
	first := claimOne(t, o, ttl)
	j := await(t, o, long)
	if j.ID != id || !j.InDoubt || j.Attempts != 1 || j.Claim == first.Claim {
		t.Errorf("job %+v", j)
	}
}

func lapsedSettle(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	add(t, o, letter(support, ann))
	first := claimOne(t, o, ttl)
	second := await(t, o, long)
	for name, err := range map[string]error{
		"settle": o.Settle(t.Context(), first, outbound.Verdict{Sent: []string{ann}}),
		"extend": o.Extend(t.Context(), first, long),
	} {
		if !errors.Is(err, outbound.ErrLost) {
			t.Errorf("%s of a lost claim: %v", name, err)
		}
	}
	settle(t, o, second, outbound.Verdict{Dead: []outbound.Failure{{Address: ann, Reason: "no"}}})
	if got := states(t, o); got != ann+" dead no" {
		t.Error(got)
	}
}

func extendedClaim(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	extended := add(t, o, letter(support, ann))
	add(t, o, letter(support, bob))
	jobs := claim(t, o, 9, 9, ttl, support)
	if len(jobs) != 2 {
		t.Fatalf("%d jobs", len(jobs))
	}
	if err := o.Extend(t.Context(), jobs[0], long); err != nil {
		t.Fatalf("extend: %v", err)
	}
	if j := await(t, o, long); j.ID == extended {
		t.Error("the extended claim lapsed") // the other one shows that time has passed
	}
	settle(t, o, jobs[0], outbound.Verdict{Sent: []string{ann}})
}

func settleTwice(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	add(t, o, letter(support, ann, bob))
	j := claimOne(t, o, long)
	settle(t, o, j, outbound.Verdict{Sent: []string{ann}, Dead: []outbound.Failure{{Address: bob, Reason: "no"}}})
	if err := o.Settle(t.Context(), j, outbound.Verdict{Sent: []string{ann, bob}}); !errors.Is(err, outbound.ErrLost) {
		t.Errorf("settled twice: %v", err)
	}
	if got := states(t, o); got != ann+" sent; "+bob+" dead no" {
		t.Error(got)
	}
}

func settleAndClaim(t *testing.T, o outbound.Outbox, j outbound.Job, v outbound.Verdict, limit int, d time.Duration) []outbound.Job {
	t.Helper()
	next, err := o.SettleAndClaim(t.Context(), j, v, limit, d)
	if err != nil {
		t.Fatalf("settle and claim: %v", err)
	}
	return next
}

// settleClaims: the oldest of the same mailbox, whole, for as long as was asked for, and not for ever.
func settleClaims(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	add(t, o, letter(support, bob))
	j := claimOne(t, o, long)
	add(t, o, letter(sales, ann))
	second, third := add(t, o, letter(support, ann)), add(t, o, letter(support, ann))
	next := settleAndClaim(t, o, j, outbound.Verdict{Sent: []string{bob}}, 1, long)
	if len(next) != 1 || next[0].ID != second || next[0].Claim == "" || next[0].Claim == j.Claim || next[0].InDoubt || next[0].Attempts != 0 || len(body(t, o, next[0])) == 0 {
		t.Fatalf("next %+v, want %s", next, second)
	}
	if more := claim(t, o, 1, 9, long, support); len(more) != 0 {
		t.Errorf("beyond the limit: %v", more)
	}
	next = settleAndClaim(t, o, next[0], outbound.Verdict{Sent: []string{ann}}, 1, ttl)
	if len(next) != 1 || next[0].ID != third {
		t.Fatalf("next %+v, want %s", next, third)
	}
	if j := await(t, o, long); j.ID != third || !j.InDoubt {
		t.Errorf("after the claim lapsed: %+v", j)
	}
}

// settleClaimsWithin: what others have claimed counts, and so does what is not due.
func settleClaimsWithin(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	for range 3 {
		add(t, o, letter(support, ann))
	}
	jobs := claim(t, o, 2, 9, long, support)
	if len(jobs) != 2 {
		t.Fatalf("%d jobs, want 2", len(jobs))
	}
	if next := settleAndClaim(t, o, jobs[0], outbound.Verdict{Sent: []string{ann}}, 1, long); len(next) != 0 {
		t.Errorf("beyond a limit that was lowered: %v", next)
	}
	next := settleAndClaim(t, o, jobs[1], outbound.Verdict{Later: []outbound.Failure{{Address: ann}}, At: time.Now().Add(long)}, 2, long)
	if len(next) != 1 || next[0].ID == jobs[1].ID {
		t.Fatalf("next %+v", next)
	}
	if none := settleAndClaim(t, o, next[0], outbound.Verdict{Dead: []outbound.Failure{{Address: ann}}}, 2, long); len(none) != 0 {
		t.Errorf("the deferred and the dead are due: %v", none)
	}
}

// lostClaimsNothing: a verdict that does not count leaves no claim behind of which nobody knows.
func lostClaimsNothing(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	add(t, o, letter(support, ann))
	j := claimOne(t, o, long)
	settle(t, o, j, outbound.Verdict{Sent: []string{ann}})
	id := add(t, o, letter(support, bob))
	if next, err := o.SettleAndClaim(t.Context(), j, outbound.Verdict{Sent: []string{ann}}, 9, long); !errors.Is(err, outbound.ErrLost) || len(next) != 0 {
		t.Errorf("%v, %v", next, err)
	}
	if j := claimOne(t, o, long); j.ID != id || j.InDoubt {
		t.Errorf("job %+v", j)
	}
}

func settleClaimsItself(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	id := add(t, o, letter(support, ann, bob))
	v := outbound.Verdict{Sent: []string{ann}, Later: []outbound.Failure{{Address: bob, Reason: "cut"}}, At: time.Now().Add(-near), Doubt: true}
	next := settleAndClaim(t, o, claimOne(t, o, long), v, 1, long)
	if len(next) != 1 || next[0].ID != id || next[0].Attempts != 1 || !next[0].InDoubt || len(next[0].Envelope.Recipients) != 1 || next[0].Envelope.Recipients[0].Address != bob {
		t.Fatalf("next %+v", next)
	}
	settle(t, o, next[0], outbound.Verdict{Sent: []string{bob}})
	if all := list(t, o); len(all) != 0 {
		t.Errorf("list %v", all)
	}
}

// sentIsDated: copies of before say nothing about those who are left.
func sentIsDated(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	id := add(t, o, letter(support, ann, bob))
	j := claimOne(t, o, long)
	began := time.Now()
	settle(t, o, j, outbound.Verdict{Sent: []string{ann}, Later: []outbound.Failure{{Address: bob, Reason: "450"}}, At: began})
	ended := time.Now()
	o = open(t)
	await(t, o, long)
	st, err := o.Get(t.Context(), id)
	if err != nil || len(st.Recipients) != 2 {
		t.Fatalf("%+v, %v", st, err)
	}
	if r := st.Recipients[0]; r.Address != ann || r.State != outbound.Sent || r.Changed.Before(began.Add(-near)) || r.Changed.After(ended.Add(near)) {
		t.Errorf("%+v, sent from %v to %v", r, began, ended)
	}
}

func draftIsKept(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	add(t, o, letter(support, ann))
	j := claimOne(t, o, ttl)
	if err := o.Drafted(t.Context(), j, "AAMk=/+"); err != nil || j.Draft != "" {
		t.Fatalf("drafted: %v; before: %q", err, j.Draft)
	}
	o = open(t)
	second := await(t, o, long)
	if second.Draft != "AAMk=/+" || !second.InDoubt {
		t.Errorf("after the worker's death: %+v", second)
	}
	if err := o.Drafted(t.Context(), j, "late"); !errors.Is(err, outbound.ErrLost) {
		t.Errorf("a lapsed claim remembers: %v", err)
	}
	if err := o.Drafted(t.Context(), second, ""); err != nil {
		t.Fatal(err)
	}
	settle(t, o, second, outbound.Verdict{Later: []outbound.Failure{{Address: ann}}, At: time.Now()})
	third := await(t, o, long)
	if third.Draft != "" {
		t.Errorf("forgotten, and still there: %q", third.Draft)
	}
	if err := o.Drafted(t.Context(), third, "again"); err != nil {
		t.Fatal(err)
	}
	settle(t, o, third, outbound.Verdict{Later: []outbound.Failure{{Address: ann}}, At: time.Now(), Doubt: true})
	if fourth := await(t, o, long); fourth.Draft != "again" || !fourth.InDoubt {
		t.Errorf("after a verdict in doubt: %+v", fourth)
	}
}

func restart(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	add(t, o, letter(support, ann, bob))
	at := time.Now().Add(long)
	settle(t, o, claimOne(t, o, long), outbound.Verdict{
		Dead: []outbound.Failure{{Address: ann, Reason: "no"}}, Later: []outbound.Failure{{Address: bob, Reason: "wait"}}, At: at, Doubt: true,
	})
	id := add(t, o, letter(support, ann))
	o = open(t)
	if all := list(t, o); len(all) != 2 || all[0].Attempts != 1 || all[0].Next.Sub(at).Abs() > near ||
		all[0].Recipients[0].State != outbound.Dead || all[0].Recipients[1].State != outbound.Unknown || all[0].Recipients[1].Reason != "wait" {
		t.Errorf("list %+v", all)
	}
	if j := claimOne(t, o, long); j.ID != id || len(body(t, o, j)) == 0 {
		t.Errorf("job %+v", j)
	}
}

func restartKeepsClaims(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	add(t, o, letter(support, ann))
	j := claimOne(t, o, long)
	o = open(t)
	if jobs := claim(t, o, 9, 9, long, support); len(jobs) == 1 {
		// A store that serves one process alone may know that the claim's holder is gone with it.
		if !jobs[0].InDoubt || jobs[0].Attempts != 1 {
			t.Errorf("job %+v", jobs[0])
		}
		if err := o.Settle(t.Context(), j, outbound.Verdict{Sent: []string{ann}}); !errors.Is(err, outbound.ErrLost) {
			t.Errorf("the old claim settled: %v", err)
		}
		return
	}
	settle(t, o, j, outbound.Verdict{Sent: []string{ann}})
}

func signals(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	changed := o.Changed()
	add(t, o, letter(support, ann))
	await := func(what string) {
		select {
		case <-changed:
		case <-time.After(10 * ttl):
			t.Fatalf("no signal after %s", what)
		}
	}
	await("add")
	settle(t, o, claimOne(t, o, long), outbound.Verdict{Sent: []string{ann}})
	await("settle")
}

func lists(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	first := add(t, o, letter(support, ann))
	add(t, o, letter(sales, ann))
	add(t, o, letter(support, bob))
	all, err := o.List(t.Context(), "", 2)
	if err != nil || len(all) != 2 || all[0].ID != first {
		t.Errorf("%+v, %v", all, err)
	}
	own, err := o.List(t.Context(), support, 9)
	if err != nil || len(own) != 2 || own[0].Mailbox != support || own[1].Mailbox != support {
		t.Errorf("%+v, %v", own, err)
	}
}
