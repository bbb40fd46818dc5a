package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"mailporter/sandbox/mailstore"
)

// row is what became of the messages of one protocol at one sink.
type row struct {
	messages, lost, doubled, altered int
	unsettled                        int // messages that do not lie where their disposition wants them
}

func (r *row) add(o row) {
	r.messages += o.messages
	r.lost += o.lost
	r.doubled += o.doubled
	r.altered += o.altered
	r.unsettled += o.unsettled
}

// side is a protocol and a sink.
type side struct{ protocol, sink string }

// result is one look at everything.
type result struct {
	rows     map[side]row
	repeated int // posts of what the receiver had
}

func (r result) total() (t row) {
	for _, one := range r.rows {
		t.add(one)
	}
	return t
}

// judge is nil if every message arrived once, as it was, and lies where it should.
func (r result) judge() error {
	t := r.total()
	var all []error
	for _, c := range []struct {
		n    int
		what string
	}{{t.lost, "messages were lost"}, {t.doubled, "messages were doubled"}, {t.altered, "messages at the sinks are none that arrived"},
		{t.unsettled, "messages do not lie where their disposition wants them"}} {
		if c.n > 0 {
			all = append(all, fmt.Errorf("%d %s", c.n, c.what))
		}
	}
	return errors.Join(all...)
}

// await looks until everything has arrived and is settled, or patience ends; then once more after a while.
func (f *fleet) await(ctx context.Context, letters []letter) (r result, err error) {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if r, err = f.look(ctx, letters); err != nil {
			return r, err
		}
		if t := r.total(); t.lost == 0 && t.unsettled == 0 {
			break
		}
		if err := sleep(ctx, time.Second); err != nil {
			return r, err
		}
	}
	if err := sleep(ctx, settled); err != nil {
		return r, err
	}
	return f.look(ctx, letters)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// look compares what arrived with the letters, mailbox by mailbox.
func (f *fleet) look(ctx context.Context, letters []letter) (result, error) {
	found, repeated, err := f.arrivals(ctx)
	if err != nil {
		return result{}, err
	}
	expected := map[string][][sha256.Size]byte{}
	for _, l := range letters {
		expected[l.to] = append(expected[l.to], l.sum())
	}
	r := result{rows: map[side]row{}, repeated: repeated}
	for _, b := range f.Boxes {
		one := compare(expected[b.Address], found[b.Address])
		if one.unsettled, err = f.unsettled(b, len(expected[b.Address])); err != nil {
			return result{}, err
		}
		at := side{b.Protocol.Name, b.Sink}
		sum := r.rows[at]
		sum.add(one)
		r.rows[at] = sum
	}
	return r, nil
}

// compare counts what is missing, there again, or nothing that was expected.
func compare(expected, found [][sha256.Size]byte) row {
	times := map[[sha256.Size]byte]int{}
	for _, sum := range expected {
		times[sum] = 0
	}
	r := row{messages: len(expected)}
	for _, sum := range found {
		if _, known := times[sum]; !known {
			r.altered++
			continue
		}
		times[sum]++
	}
	for _, n := range times {
		if n == 0 {
			r.lost++
		}
		r.doubled += max(n-1, 0)
	}
	return r
}

// arrivals are the sums of what lies at the sinks, by mailbox.
func (f *fleet) arrivals(ctx context.Context) (found map[string][][sha256.Size]byte, repeated int, err error) {
	found = map[string][][sha256.Size]byte{}
	kept, repeated := f.receiver.all()
	streamed, err := f.streamed(ctx)
	if err != nil {
		return nil, 0, err
	}
	for _, a := range slices.Concat(kept, streamed) {
		found[a.mailbox] = append(found[a.mailbox], a.sum)
	}
	for _, b := range f.Boxes {
		if b.Sink != "maildir" {
			continue
		}
		if found[b.Address], err = maildir(f.Path("mail/" + b.Address)); err != nil {
			return nil, 0, err
		}
	}
	return found, repeated, nil
}

func maildir(path string) (sums [][sha256.Size]byte, err error) {
	entries, err := os.ReadDir(filepath.Join(path, "new"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		raw, err := os.ReadFile(filepath.Join(path, "new", e.Name()))
		if err != nil {
			return nil, err
		}
		sums = append(sums, sha256.Sum256(raw))
	}
	return sums, nil
}

// streamed reads the Redis stream.
func (f *fleet) streamed(ctx context.Context) (all []arrived, err error) {
	for after := "-"; ; {
		entries, err := f.stream.XRangeN(ctx, "mail", after, "+", 500).Result()
		if err != nil {
			return nil, fmt.Errorf("read the stream: %w", err)
		}
		for _, e := range entries {
			mailbox, _ := e.Values["mailbox"].(string)
			message, _ := e.Values["message"].(string)
			all = append(all, arrived{mailbox, sha256.Sum256([]byte(message))})
			after = "(" + e.ID
		}
		if len(entries) < 500 {
			return all, nil
		}
	}
}

// unsettled counts the messages of a mailbox that do not lie where its disposition wants them.
func (f *fleet) unsettled(b box, messages int) (int, error) {
	inbox, err := f.provider.Store().Folder(b.Address, mailstore.Inbox)
	if err != nil {
		return 0, err
	}
	switch b.Disposition {
	case "keep":
		return messages - len(inbox.Messages), nil
	case "mark-read":
		unread := slices.DeleteFunc(slices.Clone(inbox.Messages), func(m *mailstore.Message) bool { return m.Has(`\Seen`) })
		return messages - len(inbox.Messages) + len(unread), nil
	case "delete":
		return len(inbox.Messages), nil
	}
	done, err := f.provider.Store().Folder(b.Address, "Done")
	if errors.Is(err, mailstore.ErrNoFolder) {
		return messages, nil
	}
	return messages - len(done.Messages), err
}
