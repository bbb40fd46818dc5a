package inboundtest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/inbound"
)

// SourceServer is an empty folder on a server, with the means to arrange things behind the Source's back.
type SourceServer struct {
	// Open makes a Source that disposes of settled messages in this way (tokenclient.Move goes to any other folder). It is
	// closed with the test.
	Open    func(t *testing.T, after tokenclient.After) inbound.Source
	Deliver func(t *testing.T, raw []byte)
	Remove  func(t *testing.T, raw []byte) // the first message with these bytes
	Holds   func(t *testing.T) [][]byte    // what is in the folder
	// LoseCursor lets the server forget every cursor and handle; nil if it cannot.
	LoseCursor func(t *testing.T)
	// RefuseTokens refuses the next n credentials; n < 0: all from now on. What is connected is cut off.
	RefuseTokens func(t *testing.T, n int)
	// Cut breaks connections and drops the answer of the next Settle.
	Cut func(t *testing.T)
	// Secrets are the credentials that were handed out.
	Secrets func() []string
	// Disposes are the ways to dispose of a message that the protocol has; nil: all.
	Disposes []tokenclient.After
	// Carried is what comes of a message that the protocol has no way to carry as it is; nil: there is none.
	Carried func(raw []byte) []byte
}

func (s SourceServer) disposes() []tokenclient.After {
	if s.Disposes != nil {
		return s.Disposes
	}
	return []tokenclient.After{tokenclient.Keep, tokenclient.MarkRead, tokenclient.Move, tokenclient.Delete}
}

// hands is what the server gives out: some repair mail on its way in, and POP3 ends the last line.
func (s SourceServer) hands(t *testing.T) (all [][]byte) {
	t.Helper()
	for _, raw := range s.Holds(t) {
		if s.Carried != nil {
			raw = s.Carried(raw)
		}
		all = append(all, raw)
	}
	return all
}

// Source tests an implementation. fresh makes an empty folder.
func Source(t *testing.T, fresh func(t *testing.T) SourceServer) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, SourceServer){
		"an empty folder":                     sourceEmpty,
		"the bytes arrive equal":              sourceBytes,
		"nothing vanishes":                    sourceVanishing,
		"pages of every size":                 sourcePages,
		"resume from every page":              sourceResume,
		"new mail after the last page":        sourceNew,
		"a lost cursor keeps the keys":        sourceLost,
		"a lost cursor doubles nothing":       sourceLostMoved,
		"a cursor that is garbage":            sourceGarbage,
		"no more in a cycle than is wanted":   sourceMaximum,
		"what is too large stays":             sourceTooLarge,
		"gone between List and Open":          sourceGone,
		"identical messages are two":          sourceTwins,
		"identical messages on two pages":     sourceTwinPages,
		"one of two identical is not settled": sourceTwinSettle,
		"delete":                              sourceDelete,
		"keep":                                sourceKeep,
		"move":                                sourceMove,
		"settle twice":                        sourceSettleTwice,
		"settle, then cut":                    sourceSettleCut,
		"used again after Close":              sourceReopen,
		"a body that is not read to its end":  sourceHalf,
		"a token refused once":                sourceRefusedOnce,
		"a token refused within a page":       sourceRefusedLater,
		"tokens refused always":               sourceRefusedAlways,
	} {
		t.Run(name, func(t *testing.T) { test(t, fresh(t)) })
	}
}

// message is one of many different messages.
func message(i int) []byte {
	return fmt.Appendf(nil, "Message-ID: <%d@test.example>\r\nSubject: %d\r\n\r\nbody %d\r\n", i, i, i)
}

func deliverMany(t *testing.T, s SourceServer, n int) (all [][]byte) {
	t.Helper()
	for i := range n {
		all = append(all, message(i))
		s.Deliver(t, message(i))
	}
	return all
}

func list(t *testing.T, s inbound.Source, after inbound.Cursor, limit int) inbound.Page {
	t.Helper()
	p, err := s.List(t.Context(), after, limit)
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	if len(p.Items) > limit {
		t.Fatalf("%d items in a page of at most %d", len(p.Items), limit)
	}
	return p
}

// listAll reads page after page and returns the items, each once, and the cursor behind them.
func listAll(t *testing.T, s inbound.Source, after inbound.Cursor, limit int) (all []inbound.Item, at inbound.Cursor) {
	t.Helper()
	seen := map[string]bool{}
	for range 1000 {
		p := list(t, s, after, limit)
		all, after = append(all, once(p.Items, seen)...), p.Next
		if !p.More {
			return all, after
		}
	}
	t.Fatal("the pages do not end")
	return nil, nil
}

// once leaves out what was listed before: a Source may list a message again.
func once(items []inbound.Item, seen map[string]bool) (fresh []inbound.Item) {
	for _, it := range items {
		if !seen[it.Key] {
			fresh = append(fresh, it)
		}
		seen[it.Key] = true
	}
	return fresh
}

func read(t *testing.T, s inbound.Source, id string) []byte {
	t.Helper()
	r, err := s.Open(t.Context(), id)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	b, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatalf("read: %v", err)
	}
	return b
}

func readAll(t *testing.T, s inbound.Source, items []inbound.Item) (all [][]byte) {
	t.Helper()
	for _, it := range items {
		all = append(all, read(t, s, it.ID))
	}
	return all
}

func mustEqual(t *testing.T, what string, got, want [][]byte) {
	t.Helper()
	got, want = slices.Clone(got), slices.Clone(want)
	slices.SortFunc(got, bytes.Compare)
	slices.SortFunc(want, bytes.Compare)
	if !slices.EqualFunc(got, want, bytes.Equal) {
		t.Errorf("%s: %d messages, want %d, byte for byte", what, len(got), len(want))
	}
}

func mustKind(t *testing.T, what string, err error, want fault.Kind) {
	t.Helper()
	if err == nil || fault.Of(err) != want {
		t.Errorf("%s: %v (%s), want %s", what, err, fault.Of(err), want)
	}
}

func ids(items []inbound.Item) (all []string) {
	for _, it := range items {
		all = append(all, it.ID)
	}
	return all
}

func keys(items []inbound.Item) (all []string) {
	for _, it := range items {
		all = append(all, it.Key)
	}
	slices.Sort(all)
	return all
}

func settle(t *testing.T, s inbound.Source, ids ...string) {
	t.Helper()
	if err := s.Settle(t.Context(), ids); err != nil {
		t.Fatalf("settle: %v", err)
	}
}

func sourceEmpty(t *testing.T, s SourceServer) {
	src := s.Open(t, tokenclient.Keep)
	p := list(t, src, nil, 10)
	if len(p.Items) != 0 || p.More {
		t.Errorf("an empty folder gave %+v", p)
	}
	if p = list(t, src, p.Next, 10); len(p.Items) != 0 {
		t.Errorf("behind it: %+v", p)
	}
	settle(t, src)
}

func sourceBytes(t *testing.T, s SourceServer) {
	for _, raw := range Awkward() {
		s.Deliver(t, raw)
	}
	src := s.Open(t, tokenclient.Keep)
	items, _ := listAll(t, src, nil, 100)
	mustEqual(t, "read", readAll(t, src, items), s.hands(t))
}

// sourceVanishing: what is awkward reaches the sink or the quarantine, and then leaves the folder.
func sourceVanishing(t *testing.T, s SourceServer) {
	for _, raw := range Awkward() {
		s.Deliver(t, raw)
	}
	want := s.hands(t)
	state, sink := &State{}, &keyed{}
	moveAll(t, state, sink, s.Open(t, tokenclient.Delete), inbound.Rules{})
	noted, err := state.List(t.Context(), "", len(want))
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range noted {
		t.Logf("quarantined: %d bytes: %s", q.Item.Size, q.Reason)
		if q.Reason == "" {
			t.Error("a message was quarantined without a reason")
		}
	}
	left := s.Holds(t)
	if len(noted) == 0 {
		mustEqual(t, "delivered", sink.bodies(), want)
	}
	if got := len(sink.bodies()); got+len(noted) != len(want) || len(left) != len(noted) {
		t.Errorf("of %d messages %d were delivered, %d quarantined, %d left", len(want), got, len(noted), len(left))
	}
}

func sourcePages(t *testing.T, s SourceServer) {
	want := deliverMany(t, s, 10)
	src := s.Open(t, tokenclient.Keep)
	for limit := 1; limit <= 11; limit++ {
		items, _ := listAll(t, src, nil, limit)
		mustEqual(t, fmt.Sprintf("pages of %d", limit), readAll(t, src, items), want)
	}
}

func sourceResume(t *testing.T, s SourceServer) {
	want := deliverMany(t, s, 7)
	var got [][]byte
	var at inbound.Cursor
	seen := map[string]bool{}
	for more := true; more; { // a new Source for every page: a crash after each
		src := s.Open(t, tokenclient.Keep)
		p := list(t, src, at, 2)
		got = append(got, readAll(t, src, once(p.Items, seen))...)
		at, more = p.Next, p.More
	}
	mustEqual(t, "read over all sessions", got, want)
}

func sourceNew(t *testing.T, s SourceServer) {
	deliverMany(t, s, 3)
	src := s.Open(t, tokenclient.Keep)
	_, at := listAll(t, src, nil, 2)
	for i := 3; i < 6; i++ {
		s.Deliver(t, message(i))
		p := list(t, src, at, 2)
		mustEqual(t, "new mail", readAll(t, src, p.Items), [][]byte{message(i)})
		at = p.Next
	}
	if p := list(t, src, at, 2); len(p.Items) != 0 {
		t.Errorf("behind the last one: %d items", len(p.Items))
	}
}

func sourceLost(t *testing.T, s SourceServer) {
	if s.LoseCursor == nil {
		return // there is nothing on the server that could be lost
	}
	want := deliverMany(t, s, 4)
	s.Deliver(t, message(0)) // a twin
	want = append(want, message(0))
	src := s.Open(t, tokenclient.Keep)
	before, at := listAll(t, src, nil, 3)
	s.LoseCursor(t)
	src = s.Open(t, tokenclient.Keep)
	_, err := src.List(t.Context(), at, 3)
	mustKind(t, "list after the loss", err, fault.CursorLost)
	after, _ := listAll(t, src, nil, 2) // other pages than before
	mustEqual(t, "read after the loss", readAll(t, src, after), want)
	if !slices.Equal(keys(before), keys(after)) {
		t.Errorf("keys before\n%v\nafter\n%v", keys(before), keys(after))
	}
}

// sourceLostMoved: what a Mover delivered before the server forgot the cursor is read again, and known by its keys.
func sourceLostMoved(t *testing.T, s SourceServer) {
	if s.LoseCursor == nil {
		return
	}
	want := append(deliverMany(t, s, 5), message(0), message(0)) // triplets
	s.Deliver(t, message(0))
	s.Deliver(t, message(0))
	state, sink := &State{}, &keyed{}
	for round := range 3 {
		moveAll(t, state, sink, s.Open(t, tokenclient.Keep), inbound.Rules{})
		mustEqual(t, fmt.Sprintf("delivered in round %d", round), sink.bodies(), want)
		s.LoseCursor(t)
		s.Deliver(t, message(10+round))
		want = append(want, message(10+round))
	}
}

func sourceGarbage(t *testing.T, s SourceServer) {
	deliverMany(t, s, 1)
	src := s.Open(t, tokenclient.Keep)
	for _, c := range []inbound.Cursor{{}, []byte("garbage"), []byte("{}"), []byte("null"), []byte(`{"v":99}`), {0xff, 0}} {
		_, err := src.List(t.Context(), c, 10)
		mustKind(t, fmt.Sprintf("cursor %q", c), err, fault.CursorLost)
	}
	if p := list(t, src, nil, 10); len(p.Items) != 1 {
		t.Errorf("%d items from the beginning, want 1", len(p.Items))
	}
}

// sourceMaximum: each cycle, here the first of a worker, goes on where the one before ended. A message that is listed again
// counts again.
func sourceMaximum(t *testing.T, s SourceServer) {
	for _, after := range []tokenclient.After{tokenclient.Keep, tokenclient.Delete} {
		want := deliverMany(t, s, 5)
		state, sink := &State{}, &keyed{}
		for cycles := 1; len(sink.bodies()) < len(want) && cycles <= 2*len(want); cycles++ {
			moveAll(t, state, sink, s.Open(t, after), inbound.Rules{MaxNumber: 2})
			if got := len(sink.bodies()); got > 2*cycles {
				t.Errorf("%s: %d messages after %d cycles", after, got, cycles)
			}
		}
		mustEqual(t, "delivered", sink.bodies(), want)
		for _, raw := range s.Holds(t) {
			s.Remove(t, raw)
		}
	}
}

// sourceTooLarge: without a folder for what failed it is noted once and left, and the others go their way.
func sourceTooLarge(t *testing.T, s SourceServer) {
	want := deliverMany(t, s, 3)
	large := fmt.Appendf(message(3), "%0*d\r\n", tooLarge, 0)
	s.Deliver(t, large)
	state, sink := &State{}, &keyed{}
	for range 2 {
		moveAll(t, state, sink, s.Open(t, tokenclient.Delete), inbound.Rules{MaxSize: tooLarge})
	}
	mustEqual(t, "delivered", sink.bodies(), want)
	mustEqual(t, "left", s.Holds(t), [][]byte{large})
	noted, err := state.List(t.Context(), "", 10)
	if err != nil || len(noted) != 1 || noted[0].Moved || !strings.Contains(noted[0].Reason, "maximum-msg-size") {
		t.Errorf("noted: %+v, %v", noted, err)
	}
}

func sourceGone(t *testing.T, s SourceServer) {
	deliverMany(t, s, 2)
	src := s.Open(t, tokenclient.Delete)
	p := list(t, src, nil, 10)
	s.Remove(t, message(0))
	if err := src.Close(); err != nil { // a running session may still show what left
		t.Fatal(err)
	}
	var gone int
	for _, it := range p.Items {
		r, err := src.Open(t.Context(), it.ID)
		if err != nil {
			mustKind(t, "open what left", err, fault.Gone)
			gone++
			continue
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			t.Errorf("read: %v", err)
		}
		_ = r.Close()
	}
	if gone != 1 {
		t.Errorf("%d messages gone, want 1", gone)
	}
	settle(t, src, ids(p.Items)...) // the gone are settled
	mustEqual(t, "left", s.Holds(t), nil)
}

func sourceTwins(t *testing.T, s SourceServer) {
	for range 3 {
		s.Deliver(t, message(0))
	}
	items, _ := listAll(t, s.Open(t, tokenclient.Keep), nil, 10)
	if k := keys(items); len(k) != 3 || len(slices.Compact(k)) != 3 {
		t.Errorf("keys %v, want three different ones", k)
	}
}

func sourceTwinPages(t *testing.T, s SourceServer) {
	for range 5 {
		s.Deliver(t, message(0))
	}
	whole, _ := listAll(t, s.Open(t, tokenclient.Keep), nil, 10)
	paged, _ := listAll(t, s.Open(t, tokenclient.Keep), nil, 2)
	if !slices.Equal(keys(whole), keys(paged)) || len(slices.Compact(keys(paged))) != 5 {
		t.Errorf("keys of one page\n%v\nof many\n%v", keys(whole), keys(paged))
	}
}

// sourceTwinSettle: a crash comes after one of two identical messages was settled. The other one must not come back under
// the first one's key: the sink would take it for the first one, and it would be lost.
func sourceTwinSettle(t *testing.T, s SourceServer) {
	s.Deliver(t, message(0))
	s.Deliver(t, message(0))
	src := s.Open(t, tokenclient.Delete)
	before := list(t, src, nil, 10)
	settle(t, src, before.Items[0].ID)
	again := list(t, s.Open(t, tokenclient.Delete), nil, 10)
	open := before.Items[1].Key
	if !slices.ContainsFunc(again.Items, func(it inbound.Item) bool { return it.Key == open }) {
		t.Errorf("keys %v after a crash, want %s among them", keys(again.Items), open)
	}
}

func sourceDelete(t *testing.T, s SourceServer) {
	deliverMany(t, s, 3)
	src := s.Open(t, tokenclient.Delete)
	p := list(t, src, nil, 10)
	byBytes := map[string]string{}
	for _, it := range p.Items {
		byBytes[string(read(t, src, it.ID))] = it.ID
	}
	settle(t, src, byBytes[string(message(0))], byBytes[string(message(2))])
	mustEqual(t, "left", s.Holds(t), [][]byte{message(1)})
}

func sourceKeep(t *testing.T, s SourceServer) {
	want := deliverMany(t, s, 2)
	src := s.Open(t, tokenclient.Keep)
	settle(t, src, ids(list(t, src, nil, 10).Items)...)
	mustEqual(t, "left", s.Holds(t), want)
}

func sourceMove(t *testing.T, s SourceServer) {
	if !slices.Contains(s.disposes(), tokenclient.Move) {
		return // there are no folders
	}
	deliverMany(t, s, 2)
	src := s.Open(t, tokenclient.Move)
	p := list(t, src, nil, 10)
	settle(t, src, ids(p.Items)...)
	mustEqual(t, "left", s.Holds(t), nil)
	s.Deliver(t, message(7))
	p = list(t, src, p.Next, 10)
	settle(t, src, ids(p.Items)...) // into the folder that is there by now
	mustEqual(t, "left", s.Holds(t), nil)
}

func sourceSettleTwice(t *testing.T, s SourceServer) {
	for _, after := range s.disposes() {
		deliverMany(t, s, 2)
		src := s.Open(t, after)
		p := list(t, src, nil, 10)
		settle(t, src, ids(p.Items)...)
		settle(t, src, ids(p.Items)...)
		for _, raw := range s.Holds(t) {
			s.Remove(t, raw)
		}
	}
}

func sourceSettleCut(t *testing.T, s SourceServer) {
	deliverMany(t, s, 2)
	src := s.Open(t, tokenclient.Delete)
	p := list(t, src, nil, 10)
	s.Cut(t)
	if err := src.Settle(t.Context(), ids(p.Items)); err == nil {
		t.Error("a settle without an answer said yes")
	}
	settle(t, src, ids(p.Items)...)
	mustEqual(t, "left", s.Holds(t), nil)
}

func sourceReopen(t *testing.T, s SourceServer) {
	deliverMany(t, s, 1)
	src := s.Open(t, tokenclient.Keep)
	p := list(t, src, nil, 10)
	for range 2 {
		if err := src.Close(); err != nil {
			t.Fatalf("close: %v", err)
		}
	}
	if got := read(t, src, p.Items[0].ID); !bytes.Equal(got, message(0)) {
		t.Errorf("read %q", got)
	}
}

func sourceHalf(t *testing.T, s SourceServer) {
	big := append(message(0), bytes.Repeat([]byte("0123456789\r\n"), 100_000)...)
	s.Deliver(t, big)
	s.Deliver(t, message(1))
	src := s.Open(t, tokenclient.Keep)
	for _, it := range list(t, src, nil, 10).Items {
		r, err := src.Open(t.Context(), it.ID)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(r, make([]byte, 10)); err != nil {
			t.Fatal(err)
		}
		_ = r.Close()
		if got := read(t, src, it.ID); !bytes.Equal(got, big) && !bytes.Equal(got, message(1)) {
			t.Errorf("read %d bytes after a half read", len(got))
		}
	}
}

// mustHide fails if an error shows a credential.
func mustHide(t *testing.T, s SourceServer, err error) {
	t.Helper()
	for _, secret := range s.Secrets() {
		if strings.Contains(fmt.Sprintf("%v %+v %q", err, err, err), secret) {
			t.Errorf("the error shows a credential: %d bytes of it", len(secret))
		}
	}
}

func sourceRefusedOnce(t *testing.T, s SourceServer) {
	deliverMany(t, s, 1)
	s.RefuseTokens(t, 1)
	if p := list(t, s.Open(t, tokenclient.Keep), nil, 10); len(p.Items) != 1 {
		t.Errorf("%d items, want 1", len(p.Items))
	}
}

func sourceRefusedLater(t *testing.T, s SourceServer) {
	want := deliverMany(t, s, 5)
	src := s.Open(t, tokenclient.Delete)
	p := list(t, src, nil, 10)
	got := [][]byte{read(t, src, p.Items[0].ID)}
	s.RefuseTokens(t, 1)
	mustEqual(t, "read", append(got, readAll(t, src, p.Items[1:])...), want)
	s.RefuseTokens(t, 1)
	settle(t, src, ids(p.Items)...)
	mustEqual(t, "left", s.Holds(t), nil)
}

func sourceRefusedAlways(t *testing.T, s SourceServer) {
	deliverMany(t, s, 1)
	s.RefuseTokens(t, -1)
	src := s.Open(t, tokenclient.Keep)
	_, err := src.List(t.Context(), nil, 10)
	mustKind(t, "list", err, fault.Auth)
	if len(s.Secrets()) == 0 {
		t.Fatal("no credential was handed out")
	}
	mustHide(t, s, err)
}
