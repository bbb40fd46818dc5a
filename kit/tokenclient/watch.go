package tokenclient

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"time"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

// Waits between attempts to watch again, doubled from the first to the last. Each is cut by up to half, by chance, so
// that a fleet does not come back in one wave.
const (
	firstWait = 200 * time.Millisecond
	lastWait  = 15 * time.Second
)

// WatchMailboxes calls fn with the settings of every mailbox side that this caller may serve, restricted to a protocol
// and a direction unless they are zero: once with the first answer, then whenever anything changed, always the full set,
// never side by side. While the broker is away the last set stands; one warning is logged per outage. It returns the
// context's error once ctx ends, and nothing else ends it.
func (c *Client) WatchMailboxes(ctx context.Context, p Protocol, d Direction, fn func([]Settings)) error {
	w := watch{client: c, request: &brokerv1.WatchMailboxesRequest{Protocol: brokerv1.Protocol(p), Direction: brokerv1.Direction(d)}, fn: fn}
	for {
		err := w.once(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := pause(ctx, w.failed(err)); err != nil {
			return err
		}
	}
}

// watch is one WatchMailboxes call, over all its streams.
type watch struct {
	client  *Client
	request *brokerv1.WatchMailboxesRequest
	fn      func([]Settings)
	last    []Settings
	known   bool          // whether last was ever set
	wait    time.Duration // before the next attempt
	away    bool          // whether the outage was logged
}

// once runs one stream to its end.
func (w *watch) once(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := w.client.mailboxes.WatchMailboxes(ctx, w.request)
	if err != nil {
		return err
	}
	for {
		res, err := stream.Recv()
		if err != nil {
			return err
		}
		w.received(res)
	}
}

func (w *watch) received(res *brokerv1.WatchMailboxesResponse) {
	if w.away {
		w.client.log.Info("the broker is back")
	}
	w.away, w.wait = false, 0
	set := make([]Settings, len(res.GetMailboxes()))
	for i, m := range res.GetMailboxes() {
		set[i] = fromSettings(m)
	}
	if w.known && reflect.DeepEqual(set, w.last) {
		return
	}
	w.known, w.last = true, set
	w.fn(set)
}

// failed takes note of a stream's end and says how long to wait. A broker ends streams now and then to spread its load,
// which io.EOF tells: no outage.
func (w *watch) failed(err error) time.Duration {
	w.wait = min(max(firstWait, 2*w.wait), lastWait)
	if errors.Is(err, io.EOF) {
		return jitter(w.wait)
	}
	err = fromStatus(context.Background(), "watch mailboxes", Ask{}, err)
	if !w.away {
		w.client.log.Warn("cannot watch mailboxes; the settings known so far stand", "error", err)
		w.away = true
	}
	var e *Error
	if errors.As(err, &e) {
		return max(jitter(w.wait), e.Wait)
	}
	return jitter(w.wait)
}

func jitter(d time.Duration) time.Duration { return d - rand.N(d/2) }

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
