package brokertest

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
	"mailporter/kit/tokenclient"
)

// mostSelectors of one stream, as the contract has it.
const mostSelectors = 1_000

// watching is one open WatchTokens stream.
type watching struct {
	asks []tokenclient.Ask
	end  chan struct{} // closed by EndWatches
}

// Unwatchable makes the broker one that does not know WatchTokens, or does again. Open streams end.
func (b *Broker) Unwatchable(is bool) {
	b.mu.Lock()
	b.unwatched = is
	b.mu.Unlock()
	b.EndWatches()
}

// EndWatches ends the open WatchTokens streams, as a broker does now and then.
func (b *Broker) EndWatches() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for w := range b.watches {
		close(w.end)
	}
	clear(b.watches)
}

// Watched are the questions of each open WatchTokens stream, the longest first.
func (b *Broker) Watched() [][]tokenclient.Ask {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all [][]tokenclient.Ask
	for w := range b.watches {
		all = append(all, slices.Clone(w.asks))
	}
	slices.SortFunc(all, func(x, y []tokenclient.Ask) int { return len(y) - len(x) })
	return all
}

// tellWatchers lets all streams look; b.mu is held.
func (b *Broker) tellWatchers() {
	close(b.stirred)
	b.stirred = make(chan struct{})
}

func (s *tokenService) WatchTokens(req *brokerv1.WatchTokensRequest, out brokerv1.TokenService_WatchTokensServer) error {
	b := s.broker
	if n := len(req.GetSelectors()); n == 0 || n > mostSelectors {
		return status.Errorf(codes.InvalidArgument, "%d selectors", n)
	}
	w, err := b.watch(req)
	if err != nil {
		return err
	}
	defer b.leave(w)
	var last *brokerv1.WatchTokensResponse
	for {
		set, stirred, renew := b.watchedTokens(w.asks)
		if last == nil || !saysTheSame(set, last) {
			if err := out.Send(set); err != nil {
				return err
			}
			last = set
		}
		if !w.wait(out.Context(), stirred, renew) || !w.wait(out.Context(), nil, settle) {
			return out.Context().Err()
		}
	}
}

// settle is how long further changes are waited for, so that they go in one set.
const settle = 100 * time.Millisecond

// wait waits for a change, at most for d, and tells whether the stream goes on.
func (w *watching) wait(ctx context.Context, stirred <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-stirred:
	case <-t.C:
	case <-w.end:
		return false
	case <-ctx.Done():
		return false
	}
	return true
}

func (b *Broker) watch(req *brokerv1.WatchTokensRequest) (*watching, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.unwatched {
		return nil, status.Error(codes.Unimplemented, "unknown method WatchTokens")
	}
	w := &watching{end: make(chan struct{})}
	for _, sel := range req.GetSelectors() {
		w.asks = append(w.asks, fromSelector(sel))
	}
	b.watches[w] = struct{}{}
	return w, nil
}

func (b *Broker) leave(w *watching) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.watches, w)
}

// saysTheSame compares what matters of two sets: durations differ at every look.
func saysTheSame(a, b *brokerv1.WatchTokensResponse) bool {
	return slices.EqualFunc(a.GetEntries(), b.GetEntries(), func(x, y *brokerv1.WatchTokensResponse_Entry) bool {
		return proto.Equal(x.GetFailure(), y.GetFailure()) && proto.Equal(x.GetPassword(), y.GetPassword()) &&
			x.GetAccessToken().GetGeneration() == y.GetAccessToken().GetGeneration()
	})
}

// longestLook is when a stream looks again at the latest.
const longestLook = time.Hour

// watchedTokens is the set of the moment, what closes when it changes, and when the first token must be renewed.
func (b *Broker) watchedTokens(asks []tokenclient.Ask) (set *brokerv1.WatchTokensResponse, stirred <-chan struct{}, renew time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	set, renew = &brokerv1.WatchTokensResponse{}, longestLook
	for _, a := range asks {
		e, next := b.watchedEntry(a)
		set.Entries = append(set.Entries, e)
		renew = min(renew, next)
	}
	return set, b.stirred, renew
}

// watchedEntry renews what is due; b.mu is held.
func (b *Broker) watchedEntry(a tokenclient.Ask) (*brokerv1.WatchTokensResponse_Entry, time.Duration) {
	settings, ok := b.find(a)
	if !ok {
		return failed(a, denial(a)), longestLook
	}
	known := b.side(a)
	if known.failure != nil {
		return failed(a, known.failure), longestLook
	}
	basic := settings.Endpoint.Mechanism == tokenclient.Basic
	due := known.token == nil || !basic && !time.Now().Before(known.token.renews)
	if due {
		if err := b.renew(known, a, settings.Margin, basic); err != nil {
			return failed(a, err), time.Second
		}
	}
	answer := known.answer(settings, settings.Margin)
	e := &brokerv1.WatchTokensResponse_Entry{Selector: toSelector(a)}
	if t := answer.GetAccessToken(); t != nil {
		e.Result = &brokerv1.WatchTokensResponse_Entry_AccessToken{AccessToken: t}
		return e, time.Until(known.token.renews)
	}
	e.Result = &brokerv1.WatchTokensResponse_Entry_Password{Password: answer.GetPassword()}
	return e, longestLook
}

func toSelector(a tokenclient.Ask) *brokerv1.Selector {
	return &brokerv1.Selector{Mailbox: a.Mailbox, Direction: brokerv1.Direction(a.Direction)}
}

// failed is the entry that says what AcquireToken would answer.
func failed(a tokenclient.Ask, err error) *brokerv1.WatchTokensResponse_Entry {
	f := &brokerv1.Failure{Code: int32(codes.Unavailable), FailureClass: brokerv1.FailureClass_FAILURE_CLASS_TRANSIENT}
	var e *tokenclient.Error
	if errors.As(err, &e) {
		code := codes.FailedPrecondition
		if e.Code != "" {
			_ = code.UnmarshalJSON([]byte(strconv.Quote(e.Code))) // an unknown one stays as it was
		}
		f = &brokerv1.Failure{Code: int32(code), FailureClass: classes[e.Class], Reason: e.Reason, Remedy: e.Remedy}
		if e.Wait > 0 {
			f.RetryDelay = durationpb.New(e.Wait)
		}
	}
	return &brokerv1.WatchTokensResponse_Entry{Selector: toSelector(a), Result: &brokerv1.WatchTokensResponse_Entry_Failure{Failure: f}}
}

var classes = map[tokenclient.Class]brokerv1.FailureClass{
	tokenclient.NeedsAdmin: brokerv1.FailureClass_FAILURE_CLASS_NEEDS_ADMIN, tokenclient.NeedsUser: brokerv1.FailureClass_FAILURE_CLASS_NEEDS_USER,
	tokenclient.WrongConfig: brokerv1.FailureClass_FAILURE_CLASS_WRONG_CONFIG, tokenclient.Throttled: brokerv1.FailureClass_FAILURE_CLASS_THROTTLED,
	tokenclient.Transient: brokerv1.FailureClass_FAILURE_CLASS_TRANSIENT,
}
