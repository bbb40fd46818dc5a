package imap

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	goimap "github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"mailporter/workers/internal/fault"
)

// row is what List wants to know of a message.
type row struct {
	arrived time.Time
	size    int64
	header  []byte // the Message-ID field, or the whole header if there is none
}

// maxHeader bounds a header, in bytes.
const maxHeader = 1 << 20

// rows fetches what is needed of the messages that are still there.
func (s *session) rows(ctx context.Context, uids []goimap.UID) (map[goimap.UID]row, error) {
	rows := map[goimap.UID]row{}
	if len(uids) == 0 {
		return rows, nil
	}
	field := &goimap.FetchItemBodySection{Specifier: goimap.PartSpecifierHeader, HeaderFields: []string{"Message-ID"}, Peek: true}
	if err := s.headers(ctx, uids, field, rows); err != nil {
		return nil, err
	}
	var bare []goimap.UID
	for uid, r := range rows {
		if !hasMessageID(r.header) {
			bare = append(bare, uid)
		}
	}
	if len(bare) > 0 {
		all := &goimap.FetchItemBodySection{Specifier: goimap.PartSpecifierHeader, Peek: true}
		if err := s.headers(ctx, bare, all, rows); err != nil {
			return nil, err
		}
	}
	return rows, s.complete(ctx, uids, rows)
}

// headers fetches one header section of each message into rows.
func (s *session) headers(ctx context.Context, uids []goimap.UID, section *goimap.FetchItemBodySection, rows map[goimap.UID]row) error {
	return s.fetch(ctx, goimap.UIDSetNum(uids...), &goimap.FetchOptions{
		UID: true, InternalDate: true, RFC822Size: true, BodySection: []*goimap.FetchItemBodySection{section},
	}, func(msg *imapclient.FetchMessageData) error {
		uid, r, err := readRow(msg)
		if uid != 0 {
			rows[uid] = r
		}
		return err
	})
}

func readRow(msg *imapclient.FetchMessageData) (uid goimap.UID, r row, err error) {
	for item := msg.Next(); item != nil; item = msg.Next() {
		switch item := item.(type) {
		case imapclient.FetchItemDataUID:
			uid = item.UID
		case imapclient.FetchItemDataInternalDate:
			r.arrived = item.Time
		case imapclient.FetchItemDataRFC822Size:
			r.size = item.Size
		case imapclient.FetchItemDataBodySection:
			if r.header, err = readHeader(item.Literal); err != nil {
				return 0, row{}, err
			}
		}
	}
	return uid, r, nil
}

// readHeader reads a header whole. Its error means that the connection is of no use any more.
func readHeader(lit goimap.LiteralReader) ([]byte, error) {
	if lit == nil {
		return nil, nil
	}
	b, err := io.ReadAll(io.LimitReader(lit, maxHeader))
	if err == nil && int64(len(b)) != min(lit.Size(), maxHeader) {
		err = io.ErrUnexpectedEOF // the library says nil to a cut literal
	}
	return b, err
}

// fetch runs one FETCH and calls each for every message. When each fails the connection is given up: the library races
// with itself if one goes on after a literal was cut.
func (s *session) fetch(ctx context.Context, set goimap.NumSet, o *goimap.FetchOptions, each func(*imapclient.FetchMessageData) error) error {
	return s.do(ctx, "fetch", func() error {
		cmd := s.client.Fetch(set, o)
		for msg := cmd.Next(); msg != nil; msg = cmd.Next() {
			if err := each(msg); err != nil {
				s.abort()
				return errors.Join(err, ignore(cmd.Close()))
			}
		}
		return cmd.Close()
	})
}

// ignore: the connection was given up for a better reason than the one that this tells.
func ignore(error) error { return nil }

// complete says whether every message that is not in rows is really gone. A server that answers with BODY before UID makes
// the library drop the message without a word.
func (s *session) complete(ctx context.Context, uids []goimap.UID, rows map[goimap.UID]row) error {
	var missing goimap.UIDSet
	for _, uid := range uids {
		if _, ok := rows[uid]; !ok {
			missing.AddNum(uid)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	there, err := s.present(ctx, missing)
	if err != nil {
		return err
	}
	if there > 0 {
		return &fault.Error{Kind: fault.Temporary, Reason: "FETCH_INCOMPLETE",
			Err: errors.New("the server left messages out of its answer to FETCH, or named their UID too late")}
	}
	return nil
}

// present counts the messages of a set that are still in the folder. It asks for the size besides: an answer of UID and flags may be
// somebody else's doing, see answers.
func (s *session) present(ctx context.Context, set goimap.UIDSet) (n int, err error) {
	err = s.fetch(ctx, set, &goimap.FetchOptions{UID: true, RFC822Size: true}, func(msg *imapclient.FetchMessageData) error {
		for item := msg.Next(); item != nil; item = msg.Next() {
			if _, ok := item.(imapclient.FetchItemDataUID); ok {
				n++
			}
		}
		return nil
	})
	return n, err
}

// Open implements inbound.Source. No other method may be called until the reader is closed.
func (s *Source) Open(ctx context.Context, id string) (io.ReadCloser, error) {
	if raw, ok := s.ahead.take(id); ok {
		return io.NopCloser(bytes.NewReader(raw)), nil
	}
	sess, err := s.opened(ctx)
	if err != nil {
		return nil, err
	}
	uid, err := readHandle(id, sess.validity)
	if err != nil {
		return nil, err
	}
	if err := s.fetchAhead(ctx, sess, id); err != nil {
		return nil, err
	}
	if raw, ok := s.ahead.take(id); ok {
		return io.NopCloser(bytes.NewReader(raw)), nil
	}
	return sess.stream(ctx, uid)
}

// stream fetches one message, as it is read.
func (s *session) stream(ctx context.Context, uid goimap.UID) (io.ReadCloser, error) {
	b := &body{ctx: ctx, session: s, uid: uid, stop: context.AfterFunc(ctx, s.conn.Abort)}
	s.conn.Await(s.silent)
	b.cmd = s.client.Fetch(goimap.UIDSetNum(uid), &goimap.FetchOptions{
		UID: true, BodySection: []*goimap.FetchItemBodySection{{Peek: true}}, // without PEEK it would be marked read
	})
	if b.find(); b.literal != nil {
		return b, nil
	}
	if err := b.end(); err != nil {
		return nil, err
	}
	return nil, s.absent(ctx, uid, b.answered)
}

// absent says why FETCH gave no body.
func (s *session) absent(ctx context.Context, uid goimap.UID, answered bool) error {
	if answered { // BODY[] NIL: the server has the message and will not render it
		return fault.Newf(fault.Permanent, "the server does not render the message")
	}
	there, err := s.present(ctx, goimap.UIDSetNum(uid))
	switch {
	case err != nil:
		return err
	case there == 0:
		return fault.Newf(fault.Gone, "the message left the folder")
	}
	return &fault.Error{Kind: fault.Temporary, Reason: "FETCH_INCOMPLETE", Err: errors.New("the server has the message but did not send it")}
}

// body streams one message.
type body struct {
	ctx     context.Context
	session *session
	uid     goimap.UID
	stop    func() bool
	cmd     *imapclient.FetchCommand

	answered bool // the server sent an item BODY[]
	literal  goimap.LiteralReader
	read     int64
	finished bool  // the literal gave its last byte, or an error
	ended    bool  // the answer too
	err      error // for every Read from now on
}

// find goes on to the literal. What the server tells of other messages meanwhile is passed over.
func (b *body) find() {
	for msg := b.cmd.Next(); msg != nil; msg = b.cmd.Next() {
		var uid goimap.UID
		for item := msg.Next(); item != nil; item = msg.Next() {
			switch item := item.(type) {
			case imapclient.FetchItemDataUID:
				uid = item.UID
			case imapclient.FetchItemDataBodySection:
				if uid != b.uid {
					continue
				}
				if b.answered, b.literal = true, item.Literal; b.literal != nil {
					return
				}
			}
		}
	}
}

// Read reads on. io.EOF comes only after the server said that its answer is complete.
func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.literal.Read(p)
	b.read += int64(n)
	if err == nil {
		return n, nil
	}
	b.finished = true
	b.err = io.EOF
	if b.read != b.literal.Size() {
		b.err = b.cut()
	} else if err := b.end(); err != nil {
		b.err = err
	}
	return n, b.err
}

// cut ends a connection that broke within the message, or is given up there. The client's goroutine waits for the literal
// to be read to its end, and only once it has stopped may the command be closed.
func (b *body) cut() error {
	b.session.conn.Abort()
	if !b.finished { // a Read after the literal's last one would race with the client
		_, _ = io.Copy(io.Discard, b.literal)
	}
	b.session.abort()
	_ = b.end()
	return b.session.fail(b.ctx, "fetch", io.ErrUnexpectedEOF)
}

// end waits for the rest of the answer.
func (b *body) end() error {
	if b.ended {
		return nil
	}
	b.ended = true
	err := b.session.fail(b.ctx, "fetch", b.cmd.Close())
	b.stop()
	b.session.conn.Await(0)
	return err
}

// Close gives the rest of the message up, and the connection with it: there is no other way to stop a literal.
func (b *body) Close() error {
	if !b.ended {
		_ = b.cut()
	}
	if b.err == nil {
		b.err = errors.New("read after close")
	}
	return nil
}
