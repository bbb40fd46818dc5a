package inboundtest

import (
	"testing"
	"time"

	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/mail"
)

// Quarantine tests an implementation. fresh is as for Checkpoints.
func Quarantine(t *testing.T, fresh func(t *testing.T) (open func(t *testing.T) inbound.Quarantine)) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, func(*testing.T) inbound.Quarantine){
		"an empty one":                        emptyQuarantine,
		"what was noted is listed":            notedListed,
		"it survives a restart":               notedSurvives,
		"a second note changes only Moved":    notedTwice,
		"folders do not touch each other":     notedApart,
		"the list is bounded, oldest first":   listOrder,
		"the list of one mailbox":             listMailbox,
		"a message without size or arrival":   notedUnknown,
		"a key may hold any byte and be long": notedKeys,
	} {
		t.Run(name, func(t *testing.T) { test(t, fresh(t)) })
	}
}

// start is when the first message was noted; whole milliseconds, as stores may keep no more.
var start = time.Date(2026, 3, 1, 12, 0, 0, 123e6, time.UTC)

func sample(f mail.Folder, key string, since time.Time) inbound.Quarantined {
	return inbound.Quarantined{
		Folder: f,
		Item:   inbound.Item{ID: "17", Key: key, Size: 5 << 30, Arrived: start.Add(-time.Hour)},
		Reason: "5368709120 bytes are more than maximum-msg-size: größer",
		Since:  since,
	}
}

func note(t *testing.T, q inbound.Quarantine, entries ...inbound.Quarantined) {
	t.Helper()
	for _, e := range entries {
		if err := q.Note(t.Context(), e); err != nil {
			t.Fatalf("note %q: %v", e.Item.Key, err)
		}
	}
}

func mustHave(t *testing.T, q inbound.Quarantine, f mail.Folder, key string, want bool) {
	t.Helper()
	if got, err := q.Has(t.Context(), f, key); err != nil || got != want {
		t.Errorf("Has(%s, %q) = %t, %v, want %t", f, key, got, err, want)
	}
}

func mustList(t *testing.T, q inbound.Quarantine, mailbox string, limit int, want ...inbound.Quarantined) {
	t.Helper()
	got, err := q.List(t.Context(), mailbox, limit)
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	if len(got) != len(want) {
		t.Fatalf("List(%q, %d): %d entries, want %d", mailbox, limit, len(got), len(want))
	}
	for i := range want {
		if !sameEntry(got[i], want[i]) {
			t.Errorf("entry %d is\n%+v, want\n%+v", i, got[i], want[i])
		}
	}
}

func sameEntry(a, b inbound.Quarantined) bool {
	sameTimes := a.Since.Equal(b.Since) && a.Item.Arrived.Equal(b.Item.Arrived)
	a.Since, a.Item.Arrived = b.Since, b.Item.Arrived
	return sameTimes && a == b
}

func emptyQuarantine(t *testing.T, open func(*testing.T) inbound.Quarantine) {
	q := open(t)
	mustHave(t, q, inbox, "k", false)
	mustList(t, q, "", 10)
}

func notedListed(t *testing.T, open func(*testing.T) inbound.Quarantine) {
	q := open(t)
	e := sample(inbox, "k", start)
	note(t, q, e)
	mustHave(t, q, inbox, "k", true)
	mustHave(t, q, inbox, "K", false)
	mustList(t, q, "", 10, e)
}

func notedSurvives(t *testing.T, open func(*testing.T) inbound.Quarantine) {
	e := sample(inbox, "k", start)
	note(t, open(t), e)
	q := open(t)
	mustHave(t, q, inbox, "k", true)
	mustList(t, q, "", 10, e)
}

func notedTwice(t *testing.T, open func(*testing.T) inbound.Quarantine) {
	q := open(t)
	first := sample(inbox, "k", start)
	again := sample(inbox, "k", start.Add(time.Hour))
	again.Reason, again.Item.ID, again.Moved = "another", "99", true
	note(t, q, first, again)
	first.Moved = true
	mustList(t, q, "", 10, first)
}

func notedApart(t *testing.T, open func(*testing.T) inbound.Quarantine) {
	q := open(t)
	junk := mail.Folder{Mailbox: inbox.Mailbox, Name: "Junk"}
	other := mail.Folder{Mailbox: "sales@contoso.example", Name: inbox.Name}
	note(t, q, sample(inbox, "k", start))
	mustHave(t, q, junk, "k", false)
	mustHave(t, q, other, "k", false)
	note(t, q, sample(junk, "k", start.Add(1*time.Second)), sample(other, "k", start.Add(2*time.Second)))
	mustList(t, q, "", 10, sample(inbox, "k", start), sample(junk, "k", start.Add(1*time.Second)), sample(other, "k", start.Add(2*time.Second)))
}

func listOrder(t *testing.T, open func(*testing.T) inbound.Quarantine) {
	q := open(t)
	first, second, third := sample(inbox, "c", start), sample(inbox, "a", start.Add(time.Second)), sample(inbox, "b", start.Add(time.Minute))
	note(t, q, third, first, second)
	mustList(t, q, "", 10, first, second, third)
	mustList(t, q, "", 2, first, second)
}

func listMailbox(t *testing.T, open func(*testing.T) inbound.Quarantine) {
	q := open(t)
	other := mail.Folder{Mailbox: "support@contoso.example.org", Name: inbox.Name} // starts like the other one
	mine, theirs := sample(inbox, "k", start.Add(time.Second)), sample(other, "k", start)
	note(t, q, mine, theirs)
	mustList(t, q, inbox.Mailbox, 10, mine)
	mustList(t, q, other.Mailbox, 10, theirs)
	mustList(t, q, "nobody@contoso.example", 10)
}

func notedUnknown(t *testing.T, open func(*testing.T) inbound.Quarantine) {
	q := open(t)
	e := sample(inbox, "k", start)
	e.Item.Size, e.Item.Arrived = -1, time.Time{}
	note(t, q, e)
	got, err := q.List(t.Context(), "", 10)
	if err != nil || len(got) != 1 {
		t.Fatalf("List() = %d entries, %v", len(got), err)
	}
	if got[0].Item.Size != -1 || !got[0].Item.Arrived.IsZero() {
		t.Errorf("size %d, arrival %s, want both unknown", got[0].Item.Size, got[0].Item.Arrived)
	}
}

func notedKeys(t *testing.T, open func(*testing.T) inbound.Quarantine) {
	q := open(t)
	long := make([]byte, 4096)
	for i := range long {
		long[i] = 'a' + byte(i%26)
	}
	for _, key := range []string{"", "{a}:b c", "ä/../x", string(long)} {
		note(t, q, sample(inbox, key, start))
		mustHave(t, q, inbox, key, true)
	}
}
