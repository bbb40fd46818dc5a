package outboundtest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"mailporter/workers/internal/outbound"
)

// after is a page of a list.
func after(t *testing.T, o outbound.Outbox, mailbox, place string, most int) []outbound.Status {
	t.Helper()
	page, err := o.ListAfter(t.Context(), mailbox, place, most)
	if err != nil {
		t.Fatalf("list after %q: %v", place, err)
	}
	return page
}

// leaf takes page after page, so many messages each, calling turned after each page but the last.
func leaf(t *testing.T, o outbound.Outbox, mailbox string, most int, turned func(page []outbound.Status)) (ids []string) {
	t.Helper()
	place := ""
	for {
		page := after(t, o, mailbox, place, most)
		for _, m := range page {
			ids = append(ids, m.ID)
		}
		if len(page) < most {
			return ids
		}
		turned(page)
		place = page[most-1].Place
	}
}

func ids(all []outbound.Status) (ids []string) {
	for _, m := range all {
		ids = append(ids, m.ID)
	}
	return ids
}

func pages(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	var all, own []string
	for i := range 11 {
		mailbox := support
		if i%4 == 3 {
			mailbox = sales
		}
		all = append(all, add(t, o, letter(mailbox, ann)))
		if mailbox == sales {
			own = append(own, all[i])
		}
	}
	o = open(t)
	if got := ids(after(t, o, "", "", 100)); !slices.Equal(got, all) {
		t.Errorf("the list is %v, want %v", got, all)
	}
	for most := 1; most <= 12; most++ {
		if got := leaf(t, o, "", most, func([]outbound.Status) {}); !slices.Equal(got, all) {
			t.Errorf("by %d: %v, want %v", most, got, all)
		}
	}
	if got := leaf(t, o, sales, 1, func([]outbound.Status) {}); !slices.Equal(got, own) {
		t.Errorf("of one mailbox: %v, want %v", got, own)
	}
	if m, err := o.Get(t.Context(), all[4]); err != nil || ids(after(t, o, "", m.Place, 1))[0] != all[5] {
		t.Errorf("after a message that was got: %+v, %v", m, err)
	}
}

// pagesWhileItChanges: whatever happens between two pages, what stays is met once, though it was tried or taken anew.
func pagesWhileItChanges(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	var stay []string
	for range 8 {
		add(t, o, letter(support, ann))
		stay = append(stay, add(t, o, letter(sales, bob)))
		add(t, o, letter(support, bob))
	}
	met := leaf(t, o, "", 2, func(page []outbound.Status) {
		gone := ids(after(t, o, support, "", 100))[:1] // most likely it was listed
		if last := page[1]; last.Mailbox == support {
			gone = []string{last.ID} // the next page begins where nothing is any more
		}
		if coming := after(t, o, support, page[1].Place, 1); len(coming) > 0 {
			gone = append(gone, coming[0].ID)
		}
		for _, id := range gone {
			if err := o.Drop(t.Context(), id); err != nil {
				t.Fatalf("drop: %v", err)
			}
		}
		add(t, o, letter(support, ann))
		settle(t, o, claim(t, o, 9, 1, long, sales)[0], outbound.Verdict{Later: []outbound.Failure{{Address: bob, Reason: "451"}}, At: time.Now().Add(long)})
		mustRetry(t, o, stay[0]) // taken anew, it keeps its place
	})
	for _, id := range stay {
		if !slices.Contains(met, id) {
			t.Errorf("%s was there and not listed: %v", id, met)
		}
	}
	if once := slices.Compact(slices.Sorted(slices.Values(met))); len(once) != len(met) {
		t.Errorf("some were listed twice: %v", met)
	}
}

func noPlace(t *testing.T, open func(*testing.T) outbound.Outbox) {
	o := open(t)
	add(t, o, letter(support, ann))
	for _, place := range []string{"?", "-1", "1e3", "nowhere", "1-2-3-", " ", "99999999999999999999"} {
		if page, err := o.ListAfter(t.Context(), "", place, 9); !errors.Is(err, outbound.ErrPlace) {
			t.Errorf("%q: %v, %v", place, page, err)
		}
	}
}
