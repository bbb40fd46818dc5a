package tokenclient

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"mailporter/kit/secret"
)

const (
	// idleTime is how long after the end of the last token that was given out a mailbox stays watched: who got the token
	// comes back when it ends, or with the next cycle.
	idleTime = 2 * time.Hour
	// passwordTime is how long a password is given out after the broker last said that it may be.
	passwordTime = time.Hour
	// patience is how long a broker is waited for that a Cache could do without.
	patience = 3 * time.Second
	// tidyTime is how often what ended is dropped.
	tidyTime = time.Minute
)

// Cache is a Broker that keeps the tokens of the mailboxes it was asked for, watches them at the broker, and answers
// Acquire from memory. Its tokens are renewed and withdrawn as the broker says; while the broker is away it goes on with
// what it has. It is safe for use by many goroutines. The zero value does not work.
type Cache struct {
	client  *Client
	log     *slog.Logger
	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup

	mu        sync.Mutex
	sides     map[side]*held
	feeds     []*feed
	away      bool // the outage was logged
	unwatched bool // the broker does not know WatchTokens: it is asked each time
}

var _ Broker = (*Cache)(nil)

// side is one side of one mailbox.
type side struct {
	mailbox   string // lower case
	direction Direction
}

func (a Ask) side() side { return side{strings.ToLower(a.Mailbox), a.Direction} }

// held is what is known of one side; Cache.mu guards it.
type held struct {
	ask     Ask                // mailbox and direction alone
	token   Token              // zero: none
	until   time.Time          // the token is not given out from here on
	refused secret.Fingerprint // of the credential that a mail server refused last: not kept again
	idle    time.Time          // nobody comes back for it from here on
	feed    *feed              // that watches it
}

// NewCache keeps tokens for c, which it does not close. End it with Close.
func NewCache(c *Client) *Cache {
	k := &Cache{client: c, log: c.log, sides: map[side]*held{}}
	k.ctx, k.stop = context.WithCancel(context.Background())
	k.running.Go(k.tidy)
	return k
}

// Close ends the watching and forgets all tokens.
func (c *Cache) Close() error {
	c.stop()
	c.running.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.sides)
	return nil
}

// Acquire implements Broker. It asks the broker if nothing in memory will do.
func (c *Cache) Acquire(ctx context.Context, a Ask) (Token, error) {
	tok, ok, current := c.find(a, time.Now())
	if ok && current {
		return tok, nil
	}
	limited, cancel := ctx, func() {}
	if ok {
		limited, cancel = context.WithTimeout(ctx, patience)
	}
	defer cancel()
	fresh, err := c.client.Acquire(limited, a)
	if err == nil {
		c.keep(a, fresh, time.Now())
		return fresh, nil
	}
	if ok && ctx.Err() == nil && noAnswer(err) {
		return tok, nil
	}
	return Token{}, err
}

// noAnswer says that the broker was not there to decide.
func noAnswer(err error) bool {
	var e *Error
	return errors.As(err, &e) && (e.Code == "UNAVAILABLE" || e.Reason == ReasonNoAnswer)
}

// Reject implements Broker. The refused token is not given out again, whatever the broker says.
func (c *Cache) Reject(ctx context.Context, a Ask, t Token, r Refusal) (Outcome, error) {
	c.drop(a, t)
	return c.client.Reject(ctx, a, t, r)
}

func (c *Cache) drop(a Ask, t Token) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.sides[a.side()]
	if h == nil {
		return
	}
	h.refused = t.Value.Fingerprint()
	if h.token.Value.Equal(t.Value) {
		h.token = Token{}
	}
}

// find is the token in memory that a asks for. current says that the broker would tell if it changed.
func (c *Cache) find(a Ask, now time.Time) (tok Token, ok, current bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.sides[a.side()]
	if h == nil || !h.serves(a, now) {
		return Token{}, false, false
	}
	h.used(h.token, now)
	tok = h.token
	if limit := tok.Expires.Add(-a.MinValidity); a.MinValidity > 0 && limit.Before(tok.UsableUntil) {
		tok.UsableUntil = limit
	}
	return tok, true, !c.unwatched
}

// serves says whether the token will do: like the broker, strictly more than asked for must be left.
func (h *held) serves(a Ask, now time.Time) bool {
	t := &h.token
	switch {
	case t.Value.Empty() || !now.Before(h.until) || a.NewerThan > 0 && t.Generation <= a.NewerThan:
		return false
	case t.IsPassword() || a.MinValidity <= 0:
		return true
	}
	return t.Expires.Sub(now) > a.MinValidity
}

// used notes that t was given out.
func (h *held) used(t Token, now time.Time) {
	end := t.UsableUntil
	if t.IsPassword() {
		end = now.Add(passwordTime)
	}
	h.idle = end.Add(idleTime)
}

// keep takes a token that the broker gave for a, and has the side watched from now on.
func (c *Cache) keep(a Ask, t Token, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return
	}
	h := c.sides[a.side()]
	if h == nil {
		h = &held{ask: Ask{Mailbox: a.Mailbox, Direction: a.Direction}}
		c.sides[a.side()] = h
		c.assign(h, now)
	}
	h.used(t, now)
	if a.MinValidity > 0 && h.token.Value.Equal(t.Value) {
		return // its times are those of this one caller
	}
	h.take(t, now)
}

// take replaces the token unless a mail server has refused the new one.
func (h *held) take(t Token, now time.Time) {
	if t.Value.Fingerprint() == h.refused {
		return
	}
	h.token, h.until = t, t.UsableUntil
	if t.IsPassword() {
		h.until = now.Add(passwordTime)
	}
}

// tidy drops what ended, until Close.
func (c *Cache) tidy() {
	for pause(c.ctx, tidyTime) == nil {
		c.sweep(time.Now())
	}
}

func (c *Cache) sweep(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for key, h := range c.sides {
		if !now.Before(h.until) {
			h.token = Token{}
		}
		if !now.Before(h.idle) {
			delete(c.sides, key)
			delete(h.feed.sides, key)
		}
	}
}
