package pop3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"mailporter/workers/internal/fault"
)

// The bounds of what is asked for ahead. The commands are a few hundred bytes, which the server's buffer takes while it sends
// messages that nobody reads: neither side waits for the other. The messages wait in the socket, not here; what counts is
// how much must be read and thrown away if the rest of the page is given up.
const (
	aheadMessages = 32
	aheadBytes    = 1 << 20
)

// Open implements inbound.Source. No other method may be called until the reader is closed.
func (s *Source) Open(ctx context.Context, id string) (io.ReadCloser, error) {
	sess, err := s.listed(ctx)
	if err != nil {
		return nil, err
	}
	m, ok := sess.drop.find(id)
	if !ok {
		return nil, fault.Newf(fault.Gone, "the message left the mailbox")
	}
	if uidlOf(id) == nameless {
		return nil, errNameless
	}
	return sess.retrieve(ctx, m.number, s.ahead(sess, id))
}

// ahead are the numbers of the messages that will be opened next, if all goes well: RFC 2449 section 6.6.
func (s *Source) ahead(sess *session, id string) (numbers []int) {
	at := s.position(id)
	if at < 0 || !sess.caps.has("PIPELINING") {
		return nil
	}
	var sum int64
	for _, it := range s.page[at+1:] {
		if most := s.config.Settings.Inbound.MaxSize; most > 0 && it.Size > most {
			continue // it will not be opened
		}
		if sum += it.Size; it.Size < 0 || sum > aheadBytes || len(numbers) == aheadMessages {
			break
		}
		if m, ok := sess.drop.find(it.ID); ok {
			numbers = append(numbers, m.number)
		}
	}
	return numbers
}

// position is where in the page a message stands, -1 = nowhere. Pages are opened from first to last.
func (s *Source) position(id string) int {
	for i := range s.page {
		if at := (s.reached + i) % len(s.page); s.page[at].ID == id {
			s.reached = at
			return at
		}
	}
	return -1
}

// retrieve asks for a message, and for others ahead of their turn.
func (s *session) retrieve(ctx context.Context, number int, ahead []int) (io.ReadCloser, error) {
	b := &body{ctx: ctx, session: s, dots: dotReader{r: s.in}}
	err := s.do(ctx, "RETR", func() error {
		if err := s.ask(number, ahead); err != nil {
			return err
		}
		s.flight = s.flight[1:]
		_, err := readReply(s.in)
		return s.unretrieved(number, err)
	})
	if err != nil {
		return nil, err
	}
	b.stop = context.AfterFunc(ctx, s.conn.Abort)
	s.conn.Await(s.silent)
	return b, nil
}

// ask brings a message to the head of the flight, and others after it.
func (s *session) ask(number int, ahead []int) error {
	for len(s.flight) > 0 && s.flight[0] != number { // passed over by the caller
		if err := s.discard(); err != nil {
			return err
		}
	}
	asked := func(n int) bool { return slices.Contains(s.flight, n) }
	fresh := slices.DeleteFunc(append([]int{number}, ahead...), asked)
	if len(s.flight) > 0 && len(fresh) <= len(ahead)/2 {
		return nil // so that commands go out many at a time
	}
	commands := make([]string, 0, len(fresh))
	for _, n := range fresh {
		commands = append(commands, fmt.Sprintf("RETR %d", n))
	}
	s.flight = append(s.flight, fresh...)
	return s.send(commands...)
}

// discard reads the answer to the first RETR that was not read yet.
func (s *session) discard() error {
	s.flight = s.flight[1:]
	_, err := readReply(s.in)
	var no *refused
	if errors.As(err, &no) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, &dotReader{r: s.in})
	return err
}

// land reads all that was asked for, so that something else can be asked.
func (s *session) land() error {
	for len(s.flight) > 0 {
		if err := s.discard(); err != nil {
			return err
		}
	}
	return nil
}

// unretrieved says why RETR was refused: the message is gone, or the server cannot show it.
func (s *session) unretrieved(number int, err error) error {
	var no *refused
	if !errors.As(err, &no) || known(no) {
		return err
	}
	if err := s.land(); err != nil {
		return err
	}
	there, failed := s.has(number)
	switch {
	case failed != nil:
		return failed
	case !there:
		return fault.Newf(fault.Gone, "the message left the mailbox: %w", err)
	}
	return err
}

// body streams one message.
type body struct {
	ctx     context.Context
	session *session
	stop    func() bool
	dots    dotReader
	ended   bool
	err     error // for every Read from now on
}

// Read reads on. io.EOF comes only after the line with the dot.
func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.dots.Read(p)
	if err == io.EOF {
		b.end(io.EOF)
	} else if err != nil {
		b.end(b.session.fail(b.ctx, "RETR", err))
	}
	return n, b.err
}

func (b *body) end(err error) {
	b.err, b.ended = err, true
	b.stop()
	b.session.conn.Await(0)
}

// drainMost is how much of a message that nobody wants is read to keep the connection, in bytes. A session that is broken
// off may lock the mailbox for minutes.
const drainMost = 4 << 20

// Close gives the rest of the message up, and the connection with it if the rest is long: there is no other way to stop it.
func (b *body) Close() error {
	if !b.ended {
		_, _ = io.CopyN(io.Discard, b, drainMost)
	}
	if !b.ended {
		b.session.abort()
		b.end(nil)
	}
	b.err = errors.New("read after close")
	return nil
}
