package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"mailporter/workers/internal/fault"
)

// maxAhead is how much of a message is read before the caller asks for it, in bytes; of a larger one the rest streams.
const maxAhead = 256 << 10

// Ahead fetches the messages that will be wanted next while the caller is busy with one: at 50 ms an answer, a mailbox
// read one request at a time would give twenty messages a second. The zero value is ready; one goroutine at a time.
type Ahead struct {
	Parallel int // most requests at a time; 0 or 1 = none is made before it is asked for
	// Whole gives a message up that is larger than what is read ahead, until it is asked for: for a server that counts answers which
	// nobody reads to their end, and would let those behind wait for ever who read other folders.
	Whole bool

	queue   []string // ids that were not asked for yet, in their order
	running map[string]*fetch
}

// Expect adds ids that will be asked for, in this order.
func (a *Ahead) Expect(ids ...string) { a.queue = append(a.queue, ids...) }

// fetch is one message on its way.
type fetch struct {
	cancel context.CancelFunc
	wanted chan struct{} // closed when it is asked for
	done   chan struct{}
	body   io.ReadCloser
	err    error
}

// Opener opens one message.
type Opener func(ctx context.Context, id string) (io.ReadCloser, error)

// Take gives the message id and starts on those behind it. ctx is that of everything that is started.
func (a *Ahead) Take(ctx context.Context, id string, open Opener) (io.ReadCloser, error) {
	a.skip(id)
	f := a.want(ctx, id, open)
	for _, next := range a.queue[:min(max(a.Parallel-1, 0), len(a.queue))] {
		a.start(ctx, next, open)
	}
	body, err := f.wait(ctx)
	if errors.Is(err, errLarge) {
		body, err = a.want(ctx, id, open).wait(ctx)
	}
	return body, err
}

// want is a message whose turn it is.
func (a *Ahead) want(ctx context.Context, id string, open Opener) *fetch {
	f := a.running[id]
	delete(a.running, id)
	if f != nil {
		close(f.wanted)
		return f
	}
	wanted := make(chan struct{})
	close(wanted) // before it can be found to be too large
	return a.fetch(ctx, id, open, wanted)
}

func (f *fetch) wait(ctx context.Context) (io.ReadCloser, error) {
	select {
	case <-f.done:
	case <-ctx.Done():
		f.drop()
		return nil, ctx.Err()
	}
	if f.err != nil {
		f.cancel()
		return nil, f.err
	}
	return &taken{f.body, f.cancel}, nil
}

// skip takes id, and what the caller passed over to come to it, out of the queue.
func (a *Ahead) skip(id string) {
	for i, q := range a.queue {
		if q != id {
			continue
		}
		for _, passed := range a.queue[:i] {
			if f := a.running[passed]; f != nil {
				f.drop()
				delete(a.running, passed)
			}
		}
		a.queue = a.queue[i+1:]
		return
	}
}

// start fetches a message, unless that is done already.
func (a *Ahead) start(ctx context.Context, id string, open Opener) {
	if a.running[id] != nil {
		return
	}
	if a.running == nil {
		a.running = map[string]*fetch{}
	}
	a.running[id] = a.fetch(ctx, id, open, make(chan struct{}))
}

func (a *Ahead) fetch(ctx context.Context, id string, open Opener, wanted chan struct{}) *fetch {
	ctx, cancel := context.WithCancel(ctx)
	f := &fetch{cancel: cancel, wanted: wanted, done: make(chan struct{})}
	go func() {
		defer close(f.done)
		f.body, f.err = a.begin(ctx, id, open, wanted)
	}()
	return f
}

// errLarge is a message that is not read ahead.
var errLarge = errors.New("the message is too large to be read ahead")

// begin reads the first part of a message, for most of them all.
func (a *Ahead) begin(ctx context.Context, id string, open Opener, wanted <-chan struct{}) (io.ReadCloser, error) {
	body, err := open(ctx, id)
	if err != nil {
		return nil, err
	}
	var head bytes.Buffer
	_, err = io.CopyN(&head, body, maxAhead)
	if err == io.EOF {
		return io.NopCloser(&head), body.Close()
	}
	if err != nil {
		return nil, fault.New(fault.Temporary, fmt.Errorf("read a message: %w", errors.Join(err, body.Close())))
	}
	select {
	case <-wanted:
	default:
		if a.Whole {
			return nil, errors.Join(errLarge, body.Close())
		}
	}
	return &partly{io.MultiReader(&head, body), body}, nil
}

// partly is a message whose first bytes are here already.
type partly struct {
	io.Reader
	io.Closer
}

// taken ends its request when it is closed.
type taken struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (t *taken) Close() error {
	defer t.cancel()
	return t.ReadCloser.Close()
}

// drop gives up what nobody wants, and waits until it is gone.
func (f *fetch) drop() {
	f.cancel()
	<-f.done
	if f.body != nil {
		_ = f.body.Close() // it was given up
	}
}

// Stop gives up everything that was not taken.
func (a *Ahead) Stop() {
	for _, f := range a.running {
		f.drop()
	}
	a.running, a.queue = nil, nil
}
