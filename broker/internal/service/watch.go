package service

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"google.golang.org/grpc"

	"mailporter/broker/internal/directory"
	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/policy"
	"mailporter/broker/internal/token"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

const (
	// mostSelectors of one stream: the set stays below the 4 MiB that gRPC clients accept unless told otherwise.
	mostSelectors = 1_000
	// firstSet is how long the first set waits for tokens that the provider has to be asked for.
	firstSet = 3 * time.Second
	// pushSpread is over how long the sets of one change are spread. What changes meanwhile goes with them.
	pushSpread = time.Second
)

// WatchTokens implements the contract. Opening it takes one call of the caller's rate, whatever it watches: pushes are
// the broker's own doing, one or two for each token an hour.
func (s *Server) WatchTokens(req *brokerv1.WatchTokensRequest, stream grpc.ServerStreamingServer[brokerv1.WatchTokensResponse]) error {
	if no := checkSelectors(req.GetSelectors()); no != nil {
		return no.Err()
	}
	w := newWatching(stream.Context(), s, req.GetSelectors())
	defer w.stop()
	w.decide()
	if err := w.spend(); err != nil {
		return err
	}
	return w.serve(stream.Send)
}

// checkSelectors wants each side of a mailbox once.
func checkSelectors(all []*brokerv1.Selector) *refusal {
	if n := len(all); n == 0 || n > mostSelectors {
		return invalid("SELECTORS_INVALID", "selectors", fmt.Sprintf("are %d, must be 1 to %d: watch more with another stream", n, mostSelectors))
	}
	type side struct {
		mailbox   string
		direction brokerv1.Direction
	}
	seen := make(map[side]bool, len(all))
	for i, sel := range all {
		if directionIn(sel.GetDirection()) == "" {
			return invalid("DIRECTION_MISSING", fmt.Sprintf("selectors[%d].direction", i), "is not set")
		}
		key := side{strings.ToLower(sel.GetMailbox()), sel.GetDirection()}
		if seen[key] {
			return invalid("SELECTOR_DUPLICATE", fmt.Sprintf("selectors[%d]", i), "was there before")
		}
		seen[key] = true
	}
	return nil
}

// watching is one WatchTokens stream. It belongs to the goroutine of its call; only wake is written from elsewhere.
type watching struct {
	server    *Server
	ctx       context.Context
	entries   []*entry
	config    *directory.Config          // by which the policy decided about the entries
	tokens    map[tokenKey]*keeper.Watch // that the entries show, each once
	wake      chan struct{}              // holds one: some token changed
	passwords <-chan struct{}            // closed when a password is kept back; nil without passwords
	due       *time.Timer                // the next set
	coming    bool                       // due is set for a change that was heard of
	sent      bool                       // the first set is out
}

// tokenKey is what entries that show the same token have in common.
type tokenKey struct {
	token.Key
	margin time.Duration
}

func newWatching(ctx context.Context, s *Server, selectors []*brokerv1.Selector) *watching {
	w := &watching{server: s, ctx: ctx, wake: make(chan struct{}, 1), due: time.NewTimer(firstSet)}
	w.entries = make([]*entry, len(selectors))
	for i, sel := range selectors {
		w.entries[i] = &entry{selector: sel}
	}
	return w
}

// stop ends what was begun for the stream.
func (w *watching) stop() {
	w.due.Stop()
	for _, t := range w.tokens {
		t.Stop()
	}
}

// serve sends sets until the stream's life is over, the server ends, or the caller goes away. It holds no set while it
// waits: a slow reader gets the state of the moment at which it can read again.
func (w *watching) serve(send func(*brokerv1.WatchTokensResponse) error) error {
	life := time.NewTimer(streamLife - rand.N(streamLife/4))
	defer life.Stop()
	w.heard()
	for {
		select {
		case <-w.wake:
			w.heard()
		case <-w.passwords:
			w.withdrawn()
		case <-w.config.Replaced():
			w.decide()
			w.withdrawn()
		case <-w.due.C:
			if err := w.push(send); err != nil {
				return err
			}
		case <-w.ctx.Done():
			return w.ctx.Err()
		case <-w.server.draining:
			return nil
		case <-life.C:
			return nil
		}
	}
}

// heard sees to it that a change goes out: the first set as soon as it is complete, later ones a moment later, because
// all streams hear of a renewal at the same time.
func (w *watching) heard() {
	switch {
	case !w.sent && w.complete():
		w.due.Reset(0)
	case w.sent && !w.coming:
		w.coming = true
		w.due.Reset(rand.N(pushSpread))
	}
}

// withdrawn sees to it that a change goes out at once that may take something away.
func (w *watching) withdrawn() {
	if !w.sent {
		w.heard()
		return
	}
	w.due.Reset(0)
}

// complete says whether every entry has something to say.
func (w *watching) complete() bool {
	for _, t := range w.tokens {
		if _, err := t.Now(); errors.Is(err, keeper.ErrPending) {
			return false
		}
	}
	return true
}

// decide asks the policy about every entry and looks after the tokens of those that it allows.
func (w *watching) decide() {
	w.config = w.server.Directory.Now()
	fresh := map[tokenKey]*keeper.Watch{}
	for _, e := range w.entries {
		e.call = w.server.open(w.ctx, "WatchTokens", e.selector.GetMailbox(), directionIn(e.selector.GetDirection()))
		_, e.denied = e.call.permit(policy.Token)
		e.token = w.token(e, fresh)
	}
	for key, t := range w.tokens {
		if fresh[key] == nil {
			t.Stop()
		}
	}
	w.tokens = fresh
}

// token is the entry's part of what is looked after; nil if it may not have a token or needs none.
func (w *watching) token(e *entry, fresh map[tokenKey]*keeper.Watch) *keeper.Watch {
	s := e.call.section
	if e.denied != nil || s.Credential == nil {
		return nil
	}
	key := tokenKey{s.Credential.Key(s.Audience), s.Margin}
	if fresh[key] == nil {
		fresh[key] = w.tokens[key]
	}
	if fresh[key] == nil {
		fresh[key] = w.server.Tokens.Watch(keeper.Wish{Credential: s.Credential, Audience: s.Audience, Margin: s.Margin}, w.awake)
	}
	return fresh[key]
}

// awake is called when a token changed. Many goroutines call it, and it waits for nobody.
func (w *watching) awake() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// spend takes one call of the rate of every rule that allows something.
func (w *watching) spend() error {
	taken := map[float64]bool{}
	for _, e := range w.entries {
		rate := float64(e.call.limit.Rate)
		if e.denied != nil || taken[rate] {
			continue
		}
		taken[rate] = true
		if no := e.call.spend(); no != nil {
			return e.call.close(w.ctx, no)
		}
	}
	return nil
}

// push sends the set unless it says what the last one said.
func (w *watching) push(send func(*brokerv1.WatchTokensResponse) error) error {
	w.coming = false
	set, news, err := w.build()
	if err != nil || !news && w.sent {
		return err
	}
	w.sent = true
	return send(set)
}

// build puts the set together. Few streams do so at a time, so that a token that thousands watch leaves time for those
// who wait for an answer.
func (w *watching) build() (set *brokerv1.WatchTokensResponse, news bool, err error) {
	select {
	case w.server.turns <- struct{}{}:
		defer func() { <-w.server.turns }()
	case <-w.ctx.Done():
		return nil, false, w.ctx.Err()
	}
	w.passwords = w.passwordNews() // before they are looked at: none must be missed
	set = &brokerv1.WatchTokensResponse{Entries: make([]*brokerv1.WatchTokensResponse_Entry, len(w.entries))}
	var again time.Duration
	var unwritten error
	for i, e := range w.entries {
		before := e.said
		m, wait, err := e.tell(time.Now())
		set.Entries[i], news = m, news || e.said != before
		if wait > 0 && (again == 0 || wait < again) {
			again = wait
		}
		if err != nil {
			unwritten = err
		}
	}
	w.comeBack(again, unwritten)
	return set, news, nil
}

// comeBack sets the time of the next set if something has to be looked at again, and tells the operator of an audit that
// cannot be written: once for all entries.
func (w *watching) comeBack(again time.Duration, unwritten error) {
	if unwritten != nil {
		w.server.Log.Error("the audit cannot be written: tokens are withheld", "error", unwritten)
	}
	if again > 0 {
		w.due.Reset(again)
	}
}

// passwordNews is nil if no entry is a password.
func (w *watching) passwordNews() <-chan struct{} {
	for _, e := range w.entries {
		if e.denied == nil && e.call.section.Grant == token.Basic {
			return w.server.passwords.news()
		}
	}
	return nil
}
