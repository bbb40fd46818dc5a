package outboundtest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mailporter/workers/internal/outbound"
)

// wantBacklogs reads the backlogs and wants them to be those, one line each in the mailboxes' order: mailbox, messages,
// recipients and bytes.
func wantBacklogs(t *testing.T, o outbound.Outbox, want ...string) []outbound.Backlog {
	t.Helper()
	all, err := o.Backlogs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(all, func(a, b outbound.Backlog) int { return strings.Compare(a.Mailbox, b.Mailbox) })
	var got []string
	for _, b := range all {
		got = append(got, fmt.Sprintf("%s %d %d %d", b.Mailbox, b.Messages, b.Cost.Recipients, b.Cost.Bytes))
	}
	if !slices.Equal(got, want) {
		t.Errorf("backlogs %q, want %q", got, want)
	}
	return all
}

// backlogs: the dead and the held do not wait, what is being sent does.
func backlogs(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	wantBacklogs(t, o)
	before := time.Now()
	add(t, o, letter(support, ann, bob))
	settle(t, o, claimOne(t, o, long), outbound.Verdict{Sent: []string{ann}, Later: []outbound.Failure{{Address: bob, Reason: "451"}}, At: time.Now().Add(long)})
	add(t, o, letter(support, ann))
	settle(t, o, claimOne(t, o, long), outbound.Verdict{Dead: []outbound.Failure{{Address: ann, Reason: "550"}}})
	add(t, o, letter(support, ann))
	settle(t, o, claimOne(t, o, long), outbound.Verdict{Later: []outbound.Failure{{Address: ann, Reason: "cut"}}, Doubt: true, Held: true})
	add(t, o, letter(support, ann, bob))
	claimOne(t, o, long)
	add(t, o, letter(support, ann))
	add(t, o, letter(sales, ann, bob))
	size := len("Subject: x\r\n\r\nx\r\n")
	all := wantBacklogs(t, o, fmt.Sprintf("%s 1 2 %d", sales, size), fmt.Sprintf("%s 3 4 %d", support, 3*size))
	if age := all[1].Oldest.Sub(before); age < -near || age > time.Since(before)+near || all[0].Oldest.Before(all[1].Oldest) {
		t.Errorf("the oldest are of %v, and the first was added after %v", all, before)
	}
}

// backlogsShrink: sent, dropped and settled for good; and what is tried again counts again.
func backlogsShrink(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	size := len("Subject: x\r\n\r\nx\r\n")
	add(t, o, letter(support, ann))
	settle(t, o, claimOne(t, o, long), outbound.Verdict{Sent: []string{ann}})
	dead := add(t, o, letter(support, ann, bob))
	settle(t, o, claimOne(t, o, long), outbound.Verdict{Sent: []string{bob}, Dead: []outbound.Failure{{Address: ann, Reason: "550"}}})
	wantBacklogs(t, o)
	mustRetry(t, o, dead)
	o = open(t)
	wantBacklogs(t, o, fmt.Sprintf("%s 1 1 %d", support, size))
	if err := o.Drop(t.Context(), dead); err != nil {
		t.Fatal(err)
	}
	wantBacklogs(t, o)
	var ids []string
	for range 30 {
		ids = append(ids, add(t, o, letter(support, ann, bob)))
	}
	second := list(t, o)[1].Accepted
	if err := o.Drop(t.Context(), ids[0]); err != nil {
		t.Fatal(err)
	}
	if b := wantBacklogs(t, o, fmt.Sprintf("%s 29 58 %d", support, 29*size)); !b[0].Oldest.Equal(second) {
		t.Errorf("the oldest is of %v, want %v", b[0].Oldest, second)
	}
}
