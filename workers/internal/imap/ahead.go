package imap

import (
	"context"
	"io"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/inbound"
)

// The bounds of what one FETCH brings into memory: at 50 ms to the server and back, one message a FETCH would be twenty a
// second. What is larger is streamed, alone.
const (
	aheadMessages = 64
	aheadBytes    = 1 << 20
)

// aloneFor is how many messages are fetched alone after several at once went wrong: one of them may be what breaks the
// server, and only alone it is known. Long enough for the Mover to see the same one fail until it passes it over.
const aloneFor = 1000

// ahead are messages that were fetched before their turn. Nothing is under way between two calls: a sink that takes its
// time holds up no server in the middle of an answer.
type ahead struct {
	page    []inbound.Item // listed last; they are opened from first to last
	reached int            // where in the page the last one was found
	bodies  map[string][]byte
	alone   int // so many messages more are fetched alone
}

// take gives the bytes of a message away, if they are there.
func (a *ahead) take(id string) (raw []byte, ok bool) {
	raw, ok = a.bodies[id]
	delete(a.bodies, id)
	return raw, ok
}

// batch are the message and those behind it that fit into memory with it; most is the size of the largest that will be
// opened, 0 = any. Empty: it is to be streamed.
func (a *ahead) batch(id string, most int64) (ids []string) {
	at := a.position(id)
	if at < 0 {
		return nil
	}
	if a.alone > 0 {
		a.alone--
		return nil
	}
	var sum int64
	for _, it := range a.page[at:] {
		_, here := a.bodies[it.ID]
		if here || most > 0 && it.Size > most {
			continue
		}
		if sum += max(it.Size, 0); sum > aheadBytes || len(ids) == aheadMessages {
			break
		}
		ids = append(ids, it.ID)
	}
	return ids
}

// position is where in the page a message stands, -1 = nowhere.
func (a *ahead) position(id string) int {
	for i := range a.page {
		if at := (a.reached + i) % len(a.page); a.page[at].ID == id {
			a.reached = at
			return at
		}
	}
	return -1
}

// fetchAhead fetches the message, if it is small, and those behind it with one command. What the server leaves out stays
// out: to be asked for alone, where the reason shows.
func (s *Source) fetchAhead(ctx context.Context, sess *session, id string) error {
	ids := s.ahead.batch(id, s.config.Settings.Inbound.MaxSize)
	if len(ids) < 2 {
		return nil
	}
	set, err := sess.uids(ids)
	if err != nil {
		return err
	}
	if s.ahead.bodies == nil {
		s.ahead.bodies = map[string][]byte{}
	}
	err = sess.fetch(ctx, set, &goimap.FetchOptions{
		UID: true, BodySection: []*goimap.FetchItemBodySection{{Peek: true}}, // without PEEK they would be marked read
	}, func(msg *imapclient.FetchMessageData) error {
		uid, raw, err := readWhole(msg)
		if raw != nil {
			s.ahead.bodies[handle(sess.validity, uid)] = raw
		}
		return err
	})
	if err == nil {
		return nil
	}
	s.ahead.bodies, s.ahead.alone = nil, aloneFor // nothing is whole before the server says so
	if fault.Of(err) == fault.Throttled || !sess.alive() {
		return err
	}
	return nil // the server said no: alone it will say to which
}

// readWhole reads a message of at most aheadBytes into memory; nil: it has no body, or a larger one. Its error means that
// the connection is of no use any more.
func readWhole(msg *imapclient.FetchMessageData) (uid goimap.UID, raw []byte, err error) {
	for item := msg.Next(); item != nil; item = msg.Next() {
		switch item := item.(type) {
		case imapclient.FetchItemDataUID:
			uid = item.UID
		case imapclient.FetchItemDataBodySection:
			if item.Literal == nil || item.Literal.Size() > aheadBytes {
				continue
			}
			raw = make([]byte, item.Literal.Size())
			if _, err := io.ReadFull(item.Literal, raw); err != nil {
				return 0, nil, io.ErrUnexpectedEOF // the library says nil to a cut literal
			}
		}
	}
	return uid, raw, nil
}
