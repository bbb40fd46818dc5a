package inboundtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/mail"
)

// SinkStore is an empty place to deliver to.
type SinkStore struct {
	Open     func(t *testing.T) inbound.Sink // again: a restart
	Messages func(t *testing.T) [][]byte     // all that was delivered, in any order
}

// Sink tests an implementation.
func Sink(t *testing.T, fresh func(t *testing.T) SinkStore) {
	t.Helper()
	for name, test := range map[string]func(*testing.T, SinkStore){
		"the bytes arrive equal":              sinkBytes,
		"a second put leaves one copy":        sinkTwice,
		"a put after a restart too":           sinkRestart,
		"equal bytes under two keys stay two": sinkTwoKeys,
		"folders and mailboxes do not mix":    sinkFolders,
		"puts run side by side":               sinkParallel,
		"puts of one key run side by side":    sinkParallelKey,
		"a body that breaks leaves nothing":   sinkBroken,
		"a body of another size too":          sinkShort,
		"a cancelled context puts nothing":    sinkCancelled,
		"a key may hold anything":             sinkKeys,
	} {
		t.Run(name, func(t *testing.T) { test(t, fresh(t)) })
	}
}

func put(t *testing.T, s inbound.Sink, f mail.Folder, key string, body []byte) {
	t.Helper()
	if err := s.Put(t.Context(), f, inbound.Item{ID: "1", Key: key, Size: int64(len(body))}, mail.Bytes(body)); err != nil {
		t.Fatalf("put %q: %v", key, err)
	}
}

// mustHold compares what was delivered, in any order.
func mustHold(t *testing.T, s SinkStore, want ...[]byte) {
	t.Helper()
	got := s.Messages(t)
	slices.SortFunc(got, bytes.Compare)
	slices.SortFunc(want, bytes.Compare)
	if !slices.EqualFunc(got, want, bytes.Equal) {
		t.Errorf("%d messages are there, want %d, byte for byte", len(got), len(want))
	}
}

func sinkBytes(t *testing.T, s SinkStore) {
	sink := s.Open(t)
	var all [][]byte
	for name, body := range Awkward() {
		put(t, sink, inbox, name, body)
		all = append(all, body)
	}
	mustHold(t, s, all...)
}

var letter = []byte("Subject: one\r\n\r\nbody\r\n")

func sinkTwice(t *testing.T, s SinkStore) {
	sink := s.Open(t)
	for range 3 {
		put(t, sink, inbox, "k", letter)
	}
	mustHold(t, s, letter)
}

func sinkRestart(t *testing.T, s SinkStore) {
	put(t, s.Open(t), inbox, "k", letter)
	put(t, s.Open(t), inbox, "k", letter)
	mustHold(t, s, letter)
}

func sinkTwoKeys(t *testing.T, s SinkStore) {
	sink := s.Open(t)
	put(t, sink, inbox, "k-0", letter)
	put(t, sink, inbox, "k-1", letter)
	mustHold(t, s, letter, letter)
}

func sinkFolders(t *testing.T, s SinkStore) {
	sink := s.Open(t)
	for _, f := range []mail.Folder{inbox, {Mailbox: inbox.Mailbox, Name: "Junk"}, {Mailbox: "b@contoso.example", Name: inbox.Name}} {
		put(t, sink, f, "k", letter)
	}
	mustHold(t, s, letter, letter, letter)
}

func sinkParallel(t *testing.T, s SinkStore) {
	sink := s.Open(t)
	var all sync.WaitGroup
	var want [][]byte
	for i := range 100 {
		body := fmt.Appendf(nil, "Subject: %d\r\n\r\nbody\r\n", i)
		want = append(want, body)
		all.Go(func() {
			if err := sink.Put(t.Context(), inbox, inbound.Item{Key: fmt.Sprint(i)}, mail.Bytes(body)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	mustHold(t, s, want...)
}

func sinkParallelKey(t *testing.T, s SinkStore) {
	sink := s.Open(t)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if err := sink.Put(t.Context(), inbox, inbound.Item{Key: "k"}, mail.Bytes(letter)); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	mustHold(t, s, letter)
}

// broken is a body whose reader fails, or ends early.
type broken struct {
	mail.Bytes
	err error
}

var errBroken = errors.New("the spool broke")

func (b broken) Open() (io.ReadCloser, error) {
	return io.NopCloser(io.MultiReader(strings.NewReader("Subject: half"), failing{b.err})), nil
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func sinkBroken(t *testing.T, s SinkStore) {
	sink := s.Open(t)
	if err := sink.Put(t.Context(), inbox, inbound.Item{Key: "k"}, broken{letter, errBroken}); !errors.Is(err, errBroken) {
		t.Errorf("put: %v, want the reader's error", err)
	}
	mustHold(t, s)
	put(t, sink, inbox, "k", letter)
	mustHold(t, s, letter)
}

func sinkShort(t *testing.T, s SinkStore) {
	if err := s.Open(t).Put(t.Context(), inbox, inbound.Item{Key: "k"}, broken{letter, io.EOF}); err == nil {
		t.Error("half a message was taken")
	}
	mustHold(t, s)
}

func sinkCancelled(t *testing.T, s SinkStore) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Open(t).Put(ctx, inbox, inbound.Item{Key: "k"}, mail.Bytes(letter)); err == nil {
		t.Error("a cancelled put said yes")
	}
	mustHold(t, s)
}

func sinkKeys(t *testing.T, s SinkStore) {
	sink := s.Open(t)
	var want [][]byte
	for i, key := range []string{"", "../../x", "a:2,S", "ä\x00\n", strings.Repeat("k", 4096)} {
		body := fmt.Appendf(nil, "Subject: %d\r\n\r\n", i)
		put(t, sink, inbox, key, body)
		want = append(want, body)
	}
	mustHold(t, s, want...)
}
