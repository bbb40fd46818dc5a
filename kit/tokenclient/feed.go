package tokenclient

import (
	"context"
	"errors"
	"io"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

const (
	// mostSides of one stream, as the contract has it.
	mostSides = 1_000
	// gatherTime is how long a new side waits for others before its stream is opened.
	gatherTime = time.Second
	// leastStream is how long a stream is left open before it is opened anew with more sides: what a worker asks for at its
	// start comes in over a while, and each stream begins with a full set.
	leastStream = 15 * time.Second
	// unwatchedTime is how long a broker that does not know WatchTokens is not asked for it again, less jitter.
	unwatchedTime = 10 * time.Minute
)

// feed watches up to mostSides sides over one stream at a time. Cache.mu guards all but wait, which is its goroutine's.
type feed struct {
	cache  *Cache
	sides  map[side]*held
	cancel context.CancelFunc // of the stream that is open; nil: none is
	opened time.Time          // when
	anew   *time.Timer        // opens the stream anew, with more sides; nil: they are all on it
	wait   time.Duration      // before the next attempt
}

// assign finds a feed with room for h, or makes one; c.mu is held.
func (c *Cache) assign(h *held, now time.Time) {
	i := slices.IndexFunc(c.feeds, func(f *feed) bool { return len(f.sides) < mostSides })
	if i < 0 {
		f := &feed{cache: c, sides: map[side]*held{}}
		c.feeds, i = append(c.feeds, f), len(c.feeds)
		c.running.Go(f.run)
	}
	c.feeds[i].add(h, now)
}

// add takes one more side, to be watched soon; Cache.mu is held.
func (f *feed) add(h *held, now time.Time) {
	h.feed = f
	f.sides[h.ask.side()] = h
	if f.cancel != nil && f.anew == nil {
		f.anew = time.AfterFunc(max(gatherTime, leastStream-now.Sub(f.opened)), f.cancel)
	}
}

// run watches until there is nothing left to watch, or Close.
func (f *feed) run() {
	next := gatherTime
	for pause(f.cache.ctx, next) == nil {
		ctx, asks := f.open()
		if len(asks) == 0 {
			return
		}
		err := f.once(ctx, asks)
		next = f.ended(err)
	}
}

// open begins a stream's time: its context, and what it is to watch. A feed without sides is given up.
func (f *feed) open() (context.Context, []*brokerv1.Selector) {
	c := f.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(f.sides) == 0 {
		c.feeds = slices.DeleteFunc(c.feeds, func(other *feed) bool { return other == f })
		return nil, nil
	}
	ctx, cancel := context.WithCancel(c.ctx)
	f.cancel, f.opened = cancel, time.Now()
	asks := make([]*brokerv1.Selector, 0, len(f.sides))
	for _, h := range f.sides {
		asks = append(asks, selector(h.ask))
	}
	return ctx, asks
}

// once runs one stream to its end.
func (f *feed) once(ctx context.Context, asks []*brokerv1.Selector) error {
	stream, err := f.cache.client.tokens.WatchTokens(ctx, &brokerv1.WatchTokensRequest{Selectors: asks})
	if err != nil {
		return err
	}
	for {
		set, err := stream.Recv()
		if err != nil {
			return err
		}
		f.wait = 0
		f.cache.received(f, asks, set, time.Now())
	}
}

// ended takes note of a stream's end and says how long to wait for the next one. The broker ends streams now and then,
// which io.EOF tells, and the feed itself to watch more: neither is an outage.
func (f *feed) ended(err error) time.Duration {
	anew := f.close()
	f.wait = min(max(firstWait, 2*f.wait), lastWait)
	switch {
	case anew && status.Code(err) == codes.Canceled:
		f.wait = 0
		return 0
	case errors.Is(err, io.EOF):
		return jitter(f.wait)
	case status.Code(err) == codes.Unimplemented:
		f.cache.unwatchable()
		return jitter(unwatchedTime)
	}
	err = fromStatus(f.cache.ctx, "watch tokens", Ask{}, err)
	f.cache.lost(err)
	var e *Error
	if errors.As(err, &e) {
		return max(jitter(f.wait), e.Wait)
	}
	return jitter(f.wait)
}

// close ends the stream's time and tells whether that was to open it anew.
func (f *feed) close() (anew bool) {
	f.cache.mu.Lock()
	defer f.cache.mu.Unlock()
	f.cancel()
	f.cancel = nil
	if anew = f.anew != nil; anew {
		f.anew.Stop()
		f.anew = nil
	}
	return anew
}

// received takes a set: what it says replaces what is held, and what it does not name was withdrawn.
func (c *Cache) received(f *feed, asks []*brokerv1.Selector, set *brokerv1.WatchTokensResponse, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away {
		c.log.Info("the broker is back")
	}
	c.away, c.unwatched = false, false
	named := make(map[side]bool, len(asks))
	for _, e := range set.GetEntries() {
		key := sideOf(e.GetSelector())
		named[key] = true
		if h := f.sides[key]; h != nil {
			h.hear(e, now)
		}
	}
	for _, s := range asks {
		if h := f.sides[sideOf(s)]; h != nil && !named[sideOf(s)] {
			h.token = Token{}
		}
	}
}

func sideOf(s *brokerv1.Selector) side {
	return Ask{Mailbox: s.GetMailbox(), Direction: Direction(s.GetDirection())}.side()
}

// hear takes what the broker says about one side. A failure that passes takes nothing away: a token that was given stays
// good until its margin. One that a person must end does.
func (h *held) hear(e *brokerv1.WatchTokensResponse_Entry, now time.Time) {
	if f := e.GetFailure(); f != nil {
		switch f.GetFailureClass() {
		case brokerv1.FailureClass_FAILURE_CLASS_THROTTLED, brokerv1.FailureClass_FAILURE_CLASS_TRANSIENT:
		default:
			h.token = Token{}
		}
		return
	}
	if t, problem := fromAnswer(answerOf(e), now); problem == "" {
		h.take(t, now)
	}
}

// answerOf is the entry as AcquireToken would have answered.
func answerOf(e *brokerv1.WatchTokensResponse_Entry) *brokerv1.AcquireTokenResponse {
	res := &brokerv1.AcquireTokenResponse{Warning: e.GetWarning()}
	switch {
	case e.GetAccessToken() != nil:
		res.Credential = &brokerv1.AcquireTokenResponse_AccessToken{AccessToken: e.GetAccessToken()}
	case e.GetPassword() != nil:
		res.Credential = &brokerv1.AcquireTokenResponse_Password{Password: e.GetPassword()}
	}
	return res
}

// lost notes an outage, and logs it once however many streams it ends.
func (c *Cache) lost(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away || c.ctx.Err() != nil {
		return
	}
	c.away = true
	c.log.Warn("cannot watch tokens; those in hand serve until their margin", "error", err)
}

// unwatchable notes that the broker is asked for each token, and logs it once.
func (c *Cache) unwatchable() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.unwatched {
		c.log.Info("the broker does not know how to watch tokens; it is asked for each")
	}
	c.unwatched = true
}
