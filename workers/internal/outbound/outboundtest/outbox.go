package outboundtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
)

// ttl is the length of the claims that a test lets lapse; long is that of those it does not.
const (
	ttl  = time.Second
	long = time.Hour
)

// near is how exactly a store keeps the time of an attempt: one that goes by its own clock translates, on a busy machine.
const near = 200 * time.Millisecond

const (
	support = "support@contoso.example"
	sales   = "sales@contoso.example"
	ann     = "ann@elsewhere.example"
	bob     = "bob@elsewhere.example"
)

// Outbox tests an implementation. fresh makes an empty store; what it returns opens that store, and closes the former
// handle first if it is called again: a restart. The suite waits for claims to lapse, a few seconds in all, and runs
// inside a synctest bubble if the implementation does.
func Outbox(t *testing.T, fresh func(t *testing.T) (open func(t *testing.T) outbound.Outbox)) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, func(*testing.T) outbound.Outbox){
		"an empty outbox":                          emptyOutbox,
		"the envelope and the bytes come back":     roundTrip,
		"a large message":                          largeMessage,
		"a message that breaks off is not added":   brokenBody,
		"the same request twice is one message":    sameRequest,
		"the same request after a restart":         sameRequestLater,
		"the same request of two mailboxes":        sameRequestElsewhere,
		"the same request after it was sent":       sameRequestOfTheSent,
		"what was sent is remembered":              sentIsRemembered,
		"a report is filed once over a crash":      reportedOnce,
		"many side by side":                        manyAdds,
		"a claimed job is nobody else's":           claimedOnce,
		"of many claimers each job goes to one":    claimRace,
		"oldest first, and no more than asked for": oldestFirst,
		"only the mailboxes asked for":             onlyOwnMailboxes,
		"the limit of a mailbox":                   limitOfMailbox,
		"the sent leave":                           sentLeave,
		"the dead are kept":                        deadAreKept,
		"the deferred come back when due":          deferredComeBack,
		"the deferred are not due yet":             deferredWait,
		"each recipient has its own state":         ownStates,
		"when somebody got it is kept":             sentIsDated,
		"doubt is kept":                            doubtIsKept,
		"doubt ends with an answer":                doubtEnds,
		"the held are not claimed":                 heldStay,
		"free attempts do not count":               freeAttempts,
		"what waits keeps its place":               placeIsKept,
		"a lapsed claim comes back in doubt":       lapsedClaim,
		"a lapsed claim decides nothing":           lapsedSettle,
		"an extended claim lasts":                  extendedClaim,
		"settling twice":                           settleTwice,
		"settling one claims the next":             settleClaims,
		"settling one claims no more than allowed": settleClaimsWithin,
		"a lost claim claims nothing":              lostClaimsNothing,
		"settling one may claim itself":            settleClaimsItself,
		"a draft is remembered":                    draftIsKept,
		"a restart keeps everything":               restart,
		"a restart keeps claims":                   restartKeepsClaims,
		"one message":                              getOne,
		"the dead are tried again":                 retryDead,
		"the held are tried again":                 retryHeld,
		"the waiting are tried now":                retryWaiting,
		"dropped":                                  dropped,
		"what is being sent is left alone":         claimedIsLeftAlone,
		"signals":                                  signals,
		"lists by mailbox and number":              lists,
		"page by page":                             pages,
		"pages while mail comes and goes":          pagesWhileItChanges,
		"a place that is none":                     noPlace,
		"what waits is counted":                    backlogs,
		"what leaves is not counted":               backlogsShrink,
	} {
		t.Run(name, func(t *testing.T) { test(t, fresh(t)) })
	}
}

func letter(mailbox string, to ...string) outbound.Submission {
	s := outbound.Submission{Mailbox: mailbox, Envelope: mail.Envelope{From: mailbox}, Body: strings.NewReader("Subject: x\r\n\r\nx\r\n")}
	for _, a := range to {
		s.Envelope.Recipients = append(s.Envelope.Recipients, mail.Recipient{Address: a})
	}
	return s
}

func add(t *testing.T, o outbound.Outbox, s outbound.Submission) string {
	t.Helper()
	id, err := o.Add(t.Context(), s)
	if err != nil || id == "" {
		t.Fatalf("add: %q, %v", id, err)
	}
	return id
}

func claim(t *testing.T, o outbound.Outbox, limit, most int, d time.Duration, mailboxes ...string) []outbound.Job {
	t.Helper()
	jobs, err := o.Claim(t.Context(), mailboxes, limit, most, d)
	if err != nil {
		t.Fatalf("claim: %v", err)
	}
	return jobs
}

// claimOne claims the one job that is due.
func claimOne(t *testing.T, o outbound.Outbox, d time.Duration) outbound.Job {
	t.Helper()
	jobs := claim(t, o, 9, 9, d, support)
	if len(jobs) != 1 {
		t.Fatalf("%d jobs are due, want 1", len(jobs))
	}
	return jobs[0]
}

// await claims the one job as soon as it is due.
func await(t *testing.T, o outbound.Outbox, d time.Duration) outbound.Job {
	t.Helper()
	return awaitSome(t, o, d)[0]
}

// awaitSome claims what is due as soon as anything is.
func awaitSome(t *testing.T, o outbound.Outbox, d time.Duration) []outbound.Job {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*ttl)
	defer cancel()
	tick := time.NewTicker(ttl / 20)
	defer tick.Stop()
	for {
		if jobs := claim(t, o, 9, 9, d, support); len(jobs) > 0 {
			return jobs
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("the job never came back")
		}
	}
}

func settle(t *testing.T, o outbound.Outbox, j outbound.Job, v outbound.Verdict) {
	t.Helper()
	if err := o.Settle(t.Context(), j, v); err != nil {
		t.Fatalf("settle: %v", err)
	}
}

func list(t *testing.T, o outbound.Outbox) []outbound.Status {
	t.Helper()
	all, err := o.List(t.Context(), "", 100)
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	return all
}

// states is "ann@elsewhere.example dead gone; ..." of the one message.
func states(t *testing.T, o outbound.Outbox) string {
	t.Helper()
	all := list(t, o)
	if len(all) != 1 {
		t.Fatalf("%d messages, want 1", len(all))
	}
	var parts []string
	for _, r := range all[0].Recipients {
		parts = append(parts, strings.TrimSpace(fmt.Sprintf("%s %s %s", r.Address, r.State, r.Reason)))
	}
	return strings.Join(parts, "; ")
}

func body(t *testing.T, o outbound.Outbox, j outbound.Job) []byte {
	t.Helper()
	r, err := o.Open(t.Context(), j)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	b, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatalf("read: %v", err)
	}
	return b
}

func emptyOutbox(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	if jobs := claim(t, o, 9, 9, long, support); len(jobs) != 0 {
		t.Errorf("jobs %v", jobs)
	}
	if next, err := o.Next(t.Context(), []string{support}); err != nil || !next.IsZero() {
		t.Errorf("next %v, %v", next, err)
	}
	if all := list(t, o); len(all) != 0 {
		t.Errorf("list %v", all)
	}
}

func roundTrip(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	s := letter(support)
	s.Envelope = mail.Envelope{
		From: "Süd@contoso.example", Return: "HDRS", ID: "QQ+2B1 x", EightBit: true, UTF8: true,
		Recipients: []mail.Recipient{{Address: ann, Notify: "SUCCESS,DELAY", Original: "rfc822;a+2Bb@c"}, {Address: `"a b"@elsewhere.example`, Notify: "NEVER"}},
	}
	want := []byte("Subject: \xfc\r\n\r\n.\r\n..\r\nlone \r and \n and \x00\r\nno line end")
	s.Body = bytes.NewReader(want)
	id := add(t, o, s)
	j := claimOne(t, o, long)
	if j.ID != id || j.Claim == "" || j.Mailbox != support || j.Size != int64(len(want)) || j.Attempts != 0 || j.InDoubt || j.Accepted.IsZero() {
		t.Errorf("job %+v", j)
	}
	if !reflect.DeepEqual(j.Envelope, s.Envelope) {
		t.Errorf("envelope %+v\nwant %+v", j.Envelope, s.Envelope)
	}
	for range 2 {
		if got := body(t, o, j); !bytes.Equal(got, want) {
			t.Errorf("body %q", got)
		}
	}
}

func largeMessage(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	want := bytes.Repeat([]byte("0123456789abcdef"), 5<<20/16)
	s := letter(support, ann)
	s.Body = iotest.HalfReader(bytes.NewReader(want))
	add(t, o, s)
	if got := body(t, o, claimOne(t, o, long)); !bytes.Equal(got, want) {
		t.Errorf("%d bytes, not what was added", len(got))
	}
}

func brokenBody(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	broke := errors.New("broke")
	s := letter(support, ann)
	s.Request = "r"
	s.Body = io.MultiReader(strings.NewReader("Subject: x"), iotest.ErrReader(broke))
	if _, err := o.Add(t.Context(), s); !errors.Is(err, broke) {
		t.Errorf("add: %v", err)
	}
	if all := list(t, o); len(all) != 0 {
		t.Errorf("list %v", all)
	}
	again := letter(support, ann)
	again.Request = "r"
	add(t, o, again)
	if all := list(t, o); len(all) != 1 {
		t.Errorf("list %v", all)
	}
}

func sameRequest(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	ids := map[string]bool{}
	for range 2 {
		s := letter(support, ann)
		s.Request = "once"
		ids[add(t, o, s)] = true
		ids[add(t, o, letter(support, ann))] = true
	}
	if len(ids) != 3 || len(list(t, o)) != 3 {
		t.Errorf("%d ids, %d messages, want 3", len(ids), len(list(t, o)))
	}
}

func sameRequestLater(t *testing.T, open func(*testing.T) outbound.Outbox) {
	s := letter(support, ann)
	s.Request = "once"
	id := add(t, open(t), s)
	o := open(t)
	again := letter(support, ann)
	again.Request = "once"
	if got := add(t, o, again); got != id || len(list(t, o)) != 1 {
		t.Errorf("id %q, want %q; %d messages", got, id, len(list(t, o)))
	}
}

// asked is a letter with a request.
func asked(mailbox, request string, to ...string) outbound.Submission {
	s := letter(mailbox, to...)
	s.Request = request
	return s
}

func mustRequest(t *testing.T, o outbound.Outbox, mailbox, request, want string) {
	t.Helper()
	if id, err := o.Requested(t.Context(), mailbox, request); id != want || err != nil {
		t.Errorf("%s of %s is %q, %v; want %q", request, mailbox, id, err, want)
	}
}

func sameRequestElsewhere(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	one, other := add(t, o, asked(support, "once", ann)), add(t, o, asked(sales, "once", ann))
	if one == other || len(list(t, o)) != 2 {
		t.Errorf("ids %s and %s", one, other)
	}
	mustRequest(t, o, support, "once", one)
	mustRequest(t, o, sales, "once", other)
	mustRequest(t, o, sales, "twice", "")
	mustRequest(t, o, sales, "", "")
}

func sameRequestOfTheSent(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	id := add(t, o, asked(support, "once", ann))
	settle(t, o, claimOne(t, o, long), outbound.Verdict{Sent: []string{ann}})
	if again := add(t, o, asked(support, "once", ann)); again != id || len(list(t, o)) != 0 {
		t.Errorf("id %s, want %s; %d messages", again, id, len(list(t, o)))
	}
	mustRequest(t, o, support, "once", id)
}

// sentIsRemembered: of messages with a request, once everybody has them, and no more than how they stand.
func sentIsRemembered(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	gone := func(id string) {
		t.Helper()
		if _, err := o.Sent(t.Context(), id); !errors.Is(err, outbound.ErrNone) {
			t.Errorf("%q: %v", id, err)
		}
	}
	id := add(t, o, asked(support, "once", ann, bob))
	gone(id)
	settle(t, o, claimOne(t, o, long), outbound.Verdict{Sent: []string{ann}, Later: []outbound.Failure{{Address: bob, Reason: "451"}}, At: time.Now()})
	gone(id)
	waiting, err := o.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	settle(t, o, await(t, o, long), outbound.Verdict{Sent: []string{bob}})
	o = open(t)
	got, err := o.Sent(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	if got.ID != id || got.Mailbox != support || got.From != support || got.Size != waiting.Size || !got.Accepted.Equal(waiting.Accepted) || got.Attempts != 2 || !got.Next.IsZero() {
		t.Errorf("%+v", got)
	}
	for i, address := range []string{ann, bob} {
		if r := got.Recipients[i]; r.Address != address || r.State != outbound.Sent || r.Reason != "" || r.Changed.IsZero() {
			t.Errorf("%+v", r)
		}
	}
	if _, err := o.Get(t.Context(), id); !errors.Is(err, outbound.ErrNone) || len(list(t, o)) != 0 {
		t.Errorf("it is listed still: %v", err)
	}
	nobody := add(t, o, letter(support, ann))
	settle(t, o, claimOne(t, o, long), outbound.Verdict{Sent: []string{ann}})
	dropped := add(t, o, asked(support, "dropped", ann))
	if err := o.Drop(t.Context(), dropped); err != nil {
		t.Fatal(err)
	}
	for _, unknown := range []string{nobody, dropped, "", "0", id + "0", "../" + id} {
		gone(unknown)
	}
}

// reportedOnce: a worker files the report of a verdict, dies before the verdict is settled, and its successor files it again,
// the second time after the report was sent.
func reportedOnce(t *testing.T, open func(*testing.T) outbound.Outbox) {
	report := func(o outbound.Outbox) string {
		s := letter(support, support)
		s.Envelope.Recipients[0].Notify, s.Request = "NEVER", "report of the letter"
		return add(t, o, s)
	}
	o := open(t)
	add(t, o, letter(support, ann))
	claimOne(t, o, time.Second)
	first := report(o)
	o = open(t)
	if second := report(o); second != first || len(list(t, o)) != 2 {
		t.Fatalf("report %q, then %q; %d messages, want 2", first, second, len(list(t, o)))
	}
	for len(list(t, o)) > 0 {
		for _, j := range awaitSome(t, o, long) {
			to := j.Envelope.Recipients[0]
			if j.ID == first && to.Notify != "NEVER" {
				t.Errorf("the report goes to %+v", to)
			}
			settle(t, o, j, outbound.Verdict{Sent: []string{to.Address}})
		}
	}
	if third := report(o); third != first || len(list(t, o)) != 0 {
		t.Errorf("report %q again, want %q; %d messages", third, first, len(list(t, o)))
	}
}

func manyAdds(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	const n = 50
	var ids sync.Map
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			s := letter(support, ann)
			s.Body = strings.NewReader(fmt.Sprint(i))
			id, err := o.Add(t.Context(), s)
			if err != nil {
				t.Errorf("add: %v", err)
			}
			ids.Store(id, fmt.Sprint(i))
		})
	}
	wg.Wait()
	jobs := claim(t, o, n, n, long, support)
	if len(jobs) != n {
		t.Fatalf("%d jobs", len(jobs))
	}
	for _, j := range jobs {
		if want, _ := ids.LoadAndDelete(j.ID); want != string(body(t, o, j)) {
			t.Errorf("%s holds %q, want %q", j.ID, body(t, o, j), want)
		}
	}
}

func claimedOnce(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	add(t, o, letter(support, ann))
	claimOne(t, o, long)
	if jobs := claim(t, o, 9, 9, long, support); len(jobs) != 0 {
		t.Errorf("claimed again: %v", jobs)
	}
	if next, err := o.Next(t.Context(), []string{support}); err != nil || !next.IsZero() {
		t.Errorf("a claimed job is due at %v, %v", next, err)
	}
	if got := states(t, o); got != ann+" sending" {
		t.Error(got)
	}
}

func claimRace(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	const n = 20
	for range n {
		add(t, o, letter(support, ann))
	}
	var seen sync.Map
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				jobs, err := o.Claim(t.Context(), []string{support}, n, 2, long)
				if err != nil || len(jobs) == 0 {
					if err != nil {
						t.Errorf("claim: %v", err)
					}
					return
				}
				for _, j := range jobs {
					if _, twice := seen.LoadOrStore(j.ID, true); twice {
						t.Errorf("%s was claimed twice", j.ID)
					}
				}
			}
		})
	}
	wg.Wait()
	count := 0
	seen.Range(func(any, any) bool { count++; return true })
	if count != n {
		t.Errorf("%d jobs were claimed, want %d", count, n)
	}
}

func oldestFirst(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	var want []string
	for range 5 {
		want = append(want, add(t, o, letter(support, ann)))
	}
	var got []string
	for _, n := range []int{2, 2, 1} {
		jobs := claim(t, o, 9, 2, long, support)
		if len(jobs) != n {
			t.Fatalf("%d jobs, want %d", len(jobs), n)
		}
		for _, j := range jobs {
			got = append(got, j.ID)
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func onlyOwnMailboxes(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	add(t, o, letter(sales, ann))
	if jobs := claim(t, o, 9, 9, long, support, "nobody@contoso.example"); len(jobs) != 0 {
		t.Errorf("jobs of others: %v", jobs)
	}
	if next, err := o.Next(t.Context(), []string{support}); err != nil || !next.IsZero() {
		t.Errorf("next %v, %v", next, err)
	}
	if jobs := claim(t, o, 9, 9, long); len(jobs) != 0 {
		t.Errorf("jobs of no mailbox: %v", jobs)
	}
	if jobs := claim(t, o, 9, 9, long, support, sales); len(jobs) != 1 {
		t.Errorf("jobs %v", jobs)
	}
}

func limitOfMailbox(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	for range 4 {
		add(t, o, letter(support, ann))
	}
	add(t, o, letter(sales, ann))
	first := claim(t, o, 2, 9, long, support, sales)
	if count(first, support) != 2 || count(first, sales) != 1 {
		t.Fatalf("claimed %d of support and %d of sales, want 2 and 1", count(first, support), count(first, sales))
	}
	if more := claim(t, o, 2, 9, long, support, sales); len(more) != 0 {
		t.Errorf("beyond the limit: %v", more)
	}
	settle(t, o, first[0], outbound.Verdict{Sent: []string{ann}})
	if more := claim(t, o, 2, 9, long, support, sales); len(more) != 1 {
		t.Errorf("%d jobs after one was settled, want 1", len(more))
	}
}

func count(jobs []outbound.Job, mailbox string) int {
	n := 0
	for _, j := range jobs {
		if j.Mailbox == mailbox {
			n++
		}
	}
	return n
}
