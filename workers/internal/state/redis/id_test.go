package redis

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"mailporter/kit/redistest"
	"mailporter/workers/internal/outbound"
)

// trips counts round trips.
type trips struct{ n atomic.Int32 }

// DialHook implements redis.Hook.
func (t *trips) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

// ProcessHook implements redis.Hook.
func (t *trips) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, c redis.Cmder) error { t.n.Add(1); return next(ctx, c) }
}

// ProcessPipelineHook implements redis.Hook.
func (t *trips) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, c []redis.Cmder) error { t.n.Add(1); return next(ctx, c) }
}

// TestOneLook: a message is found with one round trip, however many mailboxes there are, and one with an id of before with two.
func TestOneLook(t *testing.T) {
	s := openAt(t, redistest.Start(t))
	defer s.Close()
	o := s.Outbox()
	for i := range 200 {
		mustAdd(t, s, letter(fmt.Sprintf("%d@x.example", i), ""))
	}
	m := letter("wanted@x.example", "")
	id := mustAdd(t, s, m)
	old := newID("")[:oldID]
	size, chunks, err := s.storeBody(t.Context(), bodyKey(m.Mailbox, old), strings.NewReader("x\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (outbox{s}).addJob(t.Context(), m, old, size, chunks); err != nil {
		t.Fatal(err)
	}
	if _, err := o.Get(t.Context(), id); err != nil { // now the server knows the script
		t.Fatal(err)
	}
	var count trips
	s.client.AddHook(&count)
	for _, look := range []struct {
		id    string
		most  int32
		found bool
	}{{id, 1, true}, {old, 2, true}, {newID("nobody@x.example"), 1, false}, {newID("")[:oldID], 2, false}, {"no id of ours", 0, false}} {
		count.n.Store(0)
		st, err := o.Get(t.Context(), look.id)
		if n := count.n.Load(); n > look.most {
			t.Errorf("%s: %d round trips", look.id, n)
		}
		if look.found && (err != nil || st.ID != look.id || st.Mailbox != m.Mailbox) || !look.found && !errors.Is(err, outbound.ErrNone) {
			t.Errorf("%s: %+v, %v", look.id, st, err)
		}
	}
	for _, id := range []string{id, old} {
		if err := errors.Join(o.Retry(t.Context(), id), o.Drop(t.Context(), id)); err != nil {
			t.Error(err)
		}
	}
	if left, err := o.List(t.Context(), m.Mailbox, 9); err != nil || len(left) != 0 {
		t.Errorf("%+v, %v", left, err)
	}
}

// TestListOfManyMailboxes: a page takes three round trips, however many mailboxes there are.
func TestListOfManyMailboxes(t *testing.T) {
	s := openAt(t, redistest.Start(t))
	defer s.Close()
	var want []string
	for i := range 120 {
		want = append(want, mustAdd(t, s, letter(fmt.Sprintf("%d@x.example", i%40), "")))
	}
	if _, err := s.Outbox().List(t.Context(), "", 1); err != nil { // now the server knows the scripts
		t.Fatal(err)
	}
	var count trips
	s.client.AddHook(&count)
	var got []string
	for place := ""; ; {
		count.n.Store(0)
		page, err := s.Outbox().ListAfter(t.Context(), "", place, 50)
		if err != nil {
			t.Fatal(err)
		}
		if n := count.n.Load(); n > 3 { // the mailboxes, the order, the messages
			t.Errorf("%d round trips", n)
		}
		for _, m := range page {
			got = append(got, m.ID)
		}
		if len(page) < 50 {
			break
		}
		place = page[49].Place
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("%v, want %v", got, want)
	}
}

func FuzzPlace(f *testing.F) {
	for _, place := range []string{"", "1795272084134076-" + newID("a@x.example"), "1795272084134076-" + newID("")[:oldID], "1-", "-1-x", "1"} {
		f.Add(place)
	}
	f.Fuzz(func(t *testing.T, place string) {
		p, err := readSpot(place)
		if err != nil && !errors.Is(err, outbound.ErrPlace) || err == nil && place != "" && (p.taken < 1 || !validID(p.id)) {
			t.Errorf("%+v, %v", p, err)
		}
		if b, named := boxIn(p.id); named && len(b) != len(tag("")) {
			t.Errorf("outbox %q", b)
		}
	})
}
