package imap_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"mailporter/sandbox/fault"
	wfault "mailporter/workers/internal/fault"
	"mailporter/workers/internal/imap"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/providertest"
)

// mustRead reads the messages in their order and wants these.
func mustRead(t *testing.T, src *imap.Source, items []inbound.Item, want [][]byte) {
	t.Helper()
	if len(items) != len(want) {
		t.Fatalf("%d messages on the page, want %d", len(items), len(want))
	}
	for i, it := range items {
		if got := providertest.Read(t, src, it.ID); !bytes.Equal(got, want[i]) {
			t.Errorf("message %d: %d bytes, want %d", i, len(got), len(want[i]))
		}
	}
}

func (w *world) deliverMany(t *testing.T, n int) (all [][]byte) {
	t.Helper()
	for i := range n {
		all = append(all, letter(i))
		w.Deliver(t, "INBOX", all[i])
	}
	return all
}

func TestSmallMessagesComeManyAtATime(t *testing.T) {
	w := newWorld(t)
	want := w.deliverMany(t, 30)
	src := w.source(t, w.settings(t), "INBOX")
	items := providertest.Page(t, src, nil).Items
	counter := w.Fault(fault.Rule{Step: "fetch", Action: fault.Delay, Delay: time.Nanosecond})
	mustRead(t, src, items, want)
	if n := w.Sandbox.Faults().Fired(counter); n != 1 {
		t.Errorf("%d FETCH for %d small messages, want 1", n, len(items))
	}
}

func TestLargeMessagesAreNotFetchedAhead(t *testing.T) {
	w := newWorld(t)
	var want [][]byte
	for i := range 4 {
		want = append(want, append(letter(i), bytes.Repeat([]byte("0123456789\r\n"), 60_000)...))
		w.Deliver(t, "INBOX", want[i])
	}
	src := w.source(t, w.settings(t), "INBOX")
	items := providertest.Page(t, src, nil).Items
	counter := w.Fault(fault.Rule{Step: "fetch", Action: fault.Delay, Delay: time.Nanosecond})
	mustRead(t, src, items, want)
	if n := w.Sandbox.Faults().Fired(counter); n != len(items) {
		t.Errorf("%d FETCH for %d large messages", n, len(items))
	}
}

func TestWhatWillNotBeOpenedIsNotFetched(t *testing.T) {
	w := newWorld(t)
	settings := w.settings(t)
	settings.Inbound.MaxSize = 1000
	small, large := letter(1), append(letter(2), bytes.Repeat([]byte("x"), 2000)...)
	for _, raw := range [][]byte{small, large, letter(3)} {
		w.Deliver(t, "INBOX", raw)
	}
	src := w.source(t, settings, "INBOX")
	items := providertest.Page(t, src, nil).Items
	counter := w.Fault(fault.Rule{Step: "fetch", Action: fault.Delay, Delay: time.Nanosecond})
	mustRead(t, src, []inbound.Item{items[0], items[2], items[1]}, [][]byte{small, letter(3), large})
	if n := w.Sandbox.Faults().Fired(counter); n != 2 {
		t.Errorf("%d FETCH, want one for the small ones and one for what was asked for nevertheless", n)
	}
}

// One message that a server refuses or dies of must not keep the others from coming.
func TestOneMessageDoesNotSpoilTheOthers(t *testing.T) {
	for name, tc := range map[string]struct {
		rule   fault.Rule
		failed int // messages that the first try does not bring
	}{
		"refused": {fault.Rule{Action: fault.Reply, Text: "NO [SERVERBUG] one of them is broken"}, 0},
		"cut":     {fault.Rule{Action: fault.Cut, Bytes: 10}, 1},
		"reset":   {fault.Rule{Action: fault.Reset}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			want := w.deliverMany(t, 10)
			src := w.source(t, w.settings(t), "INBOX")
			items := providertest.Page(t, src, nil).Items
			tc.rule.Step, tc.rule.Count = "fetch", 1
			w.Fault(tc.rule)
			for _, it := range items[:tc.failed] {
				if _, err := src.Open(t.Context(), it.ID); err == nil {
					t.Error("the broken answer was taken for a whole one")
				}
			}
			counter := w.Fault(fault.Rule{Step: "fetch", Action: fault.Delay, Delay: time.Nanosecond})
			mustRead(t, src, items, want)
			again := providertest.Page(t, src, nil).Items
			mustRead(t, src, again, want)
			if n := w.Sandbox.Faults().Fired(counter); n < 2*len(items) {
				t.Errorf("%d FETCH for %d messages: they were fetched together again", n, 2*len(items))
			}
		})
	}
}

func TestThrottlingOfManyIsTold(t *testing.T) {
	w := newWorld(t)
	w.deliverMany(t, 3)
	src := w.source(t, w.settings(t), "INBOX")
	items := providertest.Page(t, src, nil).Items
	w.Fault(fault.Rule{Step: "fetch", Action: fault.Reply, Text: "NO Request is throttled. Suggested Backoff Time: 5000 milliseconds", Count: 1})
	if _, err := src.Open(t.Context(), items[0].ID); wfault.Of(err) != wfault.Throttled || wfault.After(err) != 5*time.Second {
		t.Errorf("%v", err)
	}
}

// RFC 3501 sets no order for the answers of one FETCH.
func TestAnswersInAnyOrder(t *testing.T) {
	answers := inboxOf("")
	answers["UID SEARCH"] = "* SEARCH 7 8 9\r\nTAG OK done\r\n"
	var rows, bodies strings.Builder
	for i, uid := range []int{9, 7, 8} {
		fmt.Fprintf(&rows, `* %d FETCH (UID %d INTERNALDATE "01-Mar-2026 12:00:00 +0000" RFC822.SIZE 30 BODY[HEADER.FIELDS ("Message-ID")] {%d}`+"\r\n%s)\r\n", i+1, uid, len(header), header)
		text := fmt.Sprintf("%smessage %d\r\n", header, uid)
		fmt.Fprintf(&bodies, "* %d FETCH (UID %d BODY[] {%d}\r\n%s)\r\n", i+1, uid, len(text), text)
	}
	answers["UID FETCH 7:9 (UID"] = rows.String() + "TAG OK done\r\n"
	answers["UID FETCH 7:9 (UID BODY.PEEK[])"] = bodies.String() + "TAG OK done\r\n"
	src, _ := play(t, answers, same)
	var got []string
	for _, it := range providertest.Page(t, src, nil).Items {
		got = append(got, strings.TrimPrefix(string(providertest.Read(t, src, it.ID)), header))
	}
	if want := []string{"message 7\r\n", "message 8\r\n", "message 9\r\n"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}
