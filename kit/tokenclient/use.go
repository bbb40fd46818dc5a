package tokenclient

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Use calls f with a token for a. If f's error says that the token was refused, Use tells the broker which one, and
// calls f once more with another; that one's refusal is reported too, so that the broker learns that fresh tokens do not
// help. A refused password is reported but not tried again: servers lock accounts.
//
// It returns f's last result and the token it was made with; the token is zero if there was none. An error wraps what f
// returned, or is an *Error if the broker had no token; if the broker says that asking again makes no sense, it is both.
//
// An error says that its token was refused through a method TokenRefused() bool on it or on anything it wraps. It may
// also have Refusal() Refusal, for a more exact report.
func Use[T any](ctx context.Context, b Broker, a Ask, f func(context.Context, Token) (T, error)) (T, Token, error) {
	tok, err := b.Acquire(ctx, a)
	if err != nil {
		var none T
		return none, Token{}, err
	}
	v, err := f(ctx, tok)
	if !tokenRefused(err) {
		return v, tok, err
	}
	next, err := replace(ctx, b, a, tok, err)
	if err != nil {
		return v, tok, err
	}
	v, err = f(ctx, next)
	if tokenRefused(err) {
		_, err = reject(ctx, b, a, next, err)
	}
	return v, next, err
}

// replace reports tok as refused and returns another one, or cause with all that is known about it.
func replace(ctx context.Context, b Broker, a Ask, tok Token, cause error) (Token, error) {
	out, err := reject(ctx, b, a, tok, cause)
	if out.Kind == 0 || out.Kind == Suppressed || tok.IsPassword() {
		return Token{}, err
	}
	if out.Kind == Replacing {
		a.NewerThan = max(a.NewerThan, tok.Generation)
	}
	next, err := b.Acquire(ctx, a)
	if err != nil {
		return Token{}, fmt.Errorf("%w; then %w", cause, err)
	}
	if next.Value.Equal(tok.Value) {
		return Token{}, fmt.Errorf("the broker gave the refused token again: %w", cause)
	}
	return next, nil
}

// reject reports tok and returns cause, with the broker's remedy if it has one. The outcome is zero if the report failed.
func reject(ctx context.Context, b Broker, a Ask, tok Token, cause error) (Outcome, error) {
	out, err := b.Reject(ctx, a, tok, refusal(cause, tok))
	if err != nil {
		return Outcome{}, fmt.Errorf("%w; then %w", cause, err)
	}
	if out.Kind == Suppressed {
		return out, &Error{Op: "use token", Mailbox: a.Mailbox, Direction: a.Direction, Code: "FAILED_PRECONDITION",
			Reason: cmp.Or(out.Reason, ReasonFreshRefused), Class: NeedsAdmin, Remedy: out.Remedy, Wait: out.Wait, Err: cause}
	}
	return out, cause
}

func tokenRefused(err error) bool {
	var r interface{ TokenRefused() bool }
	return errors.As(err, &r) && r.TokenRefused()
}

// refusal is what cause tells about itself, or what can be guessed.
func refusal(cause error, tok Token) Refusal {
	r := Refusal{Reply: cause.Error()}
	var exact interface{ Refusal() Refusal }
	if errors.As(cause, &exact) {
		r = exact.Refusal()
	}
	if r.At.IsZero() {
		r.At = time.Now()
	}
	if r.Kind == 0 && tok.Mechanism == Bearer {
		r.Kind = RefusedByHTTP
	} else if r.Kind == 0 {
		r.Kind = RefusedBySASL
	}
	r.Reply = scrub(r.Reply, tok)
	return r
}

// maxReply bounds what is told of a server's reply, in bytes.
const maxReply = 512

// blob is what may be part of a token or of an encoded one: a server that echoes it may cut or encode it. Host names, the
// longest words that replies have otherwise, stay below 64.
var blob = regexp.MustCompile(`[A-Za-z0-9+/_=.~-]{64,}`)

// scrub cuts the token out of a server's reply, should it have been echoed, and what is too long off.
func scrub(reply string, tok Token) string {
	if !tok.Value.Empty() {
		reply = strings.ReplaceAll(reply, tok.Value.Reveal(), "[secret]")
	}
	reply = blob.ReplaceAllLiteralString(reply, "[secret]")
	if len(reply) > maxReply {
		reply = reply[:maxReply]
	}
	return strings.ToValidUTF8(reply, "?")
}
