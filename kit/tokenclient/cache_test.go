package tokenclient_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/kit/tokenclient/brokertest"
)

// inCache runs a test in a bubble: a broker whose tokens live for 20 minutes, and a cache before it.
func inCache(t *testing.T, f func(*testing.T, *brokertest.Broker, *tokenclient.Cache)) {
	synctest.Test(t, func(t *testing.T) {
		b := brokertest.New(t)
		b.SetMailboxes(settings(tokenclient.XOAUTH2))
		lives(b, 20*time.Minute)
		f(t, b, cache(t, b.Client(t)))
	})
}

func cache(t testing.TB, c *tokenclient.Client) *tokenclient.Cache {
	k := tokenclient.NewCache(c)
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return k
}

func lives(b *brokertest.Broker, life time.Duration) {
	n := 0
	b.OnMint(func(tokenclient.Ask) (string, time.Time, error) {
		n++
		return fmt.Sprintf("token-%d", n), time.Now().Add(life), nil
	})
}

// now is a caller who does not wait: only memory can answer.
func now(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	t.Cleanup(cancel)
	return ctx
}

// must is a token outside of its margin.
func must(t *testing.T, b tokenclient.Broker, ctx context.Context, a tokenclient.Ask) tokenclient.Token {
	t.Helper()
	tok, err := b.Acquire(ctx, a)
	if err != nil {
		t.Fatal(err)
	}
	if !tok.Usable(time.Now()) {
		t.Fatalf("%v is inside its margin", tok)
	}
	return tok
}

func TestCacheAnswersFromMemory(t *testing.T) {
	inCache(t, func(t *testing.T, b *brokertest.Broker, c *tokenclient.Cache) {
		first := must(t, c, t.Context(), support)
		time.Sleep(3 * time.Second) // watched now
		for range 12 * 60 {
			time.Sleep(time.Minute)
			other := support
			other.Mailbox = "SUPPORT@Contoso.com"
			tok := must(t, c, now(t), other)
			if left := time.Until(tok.Expires); left < 4*time.Minute {
				t.Fatalf("%v left of a token that is renewed ahead", left)
			}
			first = tok
		}
		if n := len(b.Asks()); n != 1 {
			t.Errorf("the broker was asked %d times", n)
		}
		if first.User != support.Mailbox || first.Mechanism != tokenclient.XOAUTH2 || first.Fingerprint != first.Value.Fingerprint() {
			t.Errorf("%v", first)
		}
	})
}

func TestCacheKeepsToWhatIsAsked(t *testing.T) {
	inCache(t, func(t *testing.T, b *brokertest.Broker, c *tokenclient.Cache) {
		tok := must(t, c, t.Context(), support)
		time.Sleep(3 * time.Second)
		longer := support
		longer.MinValidity = 10 * time.Minute
		if got := must(t, c, now(t), longer); got.Expires.Sub(got.UsableUntil) != 10*time.Minute {
			t.Errorf("usable until %v before its end", got.Expires.Sub(got.UsableUntil))
		}
		newer := support
		newer.NewerThan = tok.Generation
		fresh := must(t, c, t.Context(), newer)
		if fresh.Generation <= tok.Generation || len(b.Asks()) != 2 {
			t.Errorf("generation %d after %d, asked %d times", fresh.Generation, tok.Generation, len(b.Asks()))
		}
		if got := must(t, c, now(t), support); got.Generation != fresh.Generation {
			t.Errorf("generation %d in memory, want %d", got.Generation, fresh.Generation)
		}
	})
}

// While the broker is away tokens serve until their margin, and not a moment longer.
func TestCacheOutlivesTheBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		b := brokertest.New(t)
		b.SetMailboxes(settings(tokenclient.XOAUTH2))
		lives(b, 20*time.Minute)
		c := cache(t, b.ClientWithLog(t, slog.New(slog.NewTextHandler(&log, nil))))
		tok := must(t, c, t.Context(), support)
		time.Sleep(3 * time.Second)
		b.Stop()
		for time.Now().Before(tok.UsableUntil) {
			must(t, c, now(t), support)
			time.Sleep(10 * time.Second)
		}
		time.Sleep(10 * time.Second)
		if _, err := c.Acquire(now(t), support); !errors.Is(err, &tokenclient.Error{Reason: tokenclient.ReasonNoAnswer}) {
			t.Fatalf("inside the margin: %v", err)
		}
		time.Sleep(time.Hour)
		b.Start()
		must(t, c, t.Context(), support)
		time.Sleep(time.Minute)
		must(t, c, now(t), support)
		if n := strings.Count(log.String(), "\n"); n != 2 { // away, back
			t.Errorf("%d lines in the log:\n%s", n, log.String())
		}
	})
}

func TestCacheRefusedToken(t *testing.T) {
	inCache(t, func(t *testing.T, b *brokertest.Broker, c *tokenclient.Cache) {
		first := must(t, c, t.Context(), support)
		time.Sleep(3 * time.Second)
		b.Suppress(&tokenclient.Outcome{Wait: time.Minute, Remedy: "look"}) // the broker keeps the token
		if out, err := c.Reject(t.Context(), support, first, tokenclient.Refusal{Kind: tokenclient.RefusedBySASL}); err != nil || out.Kind != tokenclient.Suppressed {
			t.Fatal(out, err)
		}
		if len(b.Rejections()) != 1 {
			t.Fatal("the broker does not know")
		}
		for range 3 {
			asked := len(b.Asks())
			if must(t, c, t.Context(), support); len(b.Asks()) != asked+1 {
				t.Fatal("a refused token is given out from memory")
			}
			time.Sleep(time.Second)
		}
		b.Suppress(nil)
		b.Replace(support)
		time.Sleep(3 * time.Second)
		if tok := must(t, c, now(t), support); tok.Generation <= first.Generation {
			t.Error("the new token is not there")
		}
	})
}

func TestCacheFailures(t *testing.T) {
	for name, tc := range map[string]struct {
		failure tokenclient.Error
		serves  bool
	}{
		"withdrawn by the policy": {tokenclient.Error{Code: "PERMISSION_DENIED", Reason: "POLICY_DENIED", Class: tokenclient.WrongConfig}, false},
		"needs an administrator":  {tokenclient.Error{Reason: "CLIENT_SECRET_EXPIRED", Class: tokenclient.NeedsAdmin}, false},
		"it will pass":            {tokenclient.Error{Code: "UNAVAILABLE", Reason: "IDP_UNAVAILABLE", Class: tokenclient.Transient}, true},
		"throttled":               {tokenclient.Error{Code: "RESOURCE_EXHAUSTED", Reason: "IDP_THROTTLED", Class: tokenclient.Throttled, Wait: time.Minute}, true},
	} {
		t.Run(name, func(t *testing.T) {
			inCache(t, func(t *testing.T, b *brokertest.Broker, c *tokenclient.Cache) {
				must(t, c, t.Context(), support)
				time.Sleep(3 * time.Second)
				b.Fail(support, &tc.failure)
				time.Sleep(3 * time.Second)
				_, err := c.Acquire(t.Context(), support)
				if tc.serves != (err == nil) || err != nil && !errors.Is(err, &tc.failure) {
					t.Fatal(err)
				}
				b.Fail(support, nil)
				time.Sleep(3 * time.Second)
				must(t, c, now(t), support)
			})
		})
	}
	t.Run("mailbox removed", func(t *testing.T) {
		inCache(t, func(t *testing.T, b *brokertest.Broker, c *tokenclient.Cache) {
			must(t, c, t.Context(), support)
			time.Sleep(3 * time.Second)
			b.SetMailboxes()
			time.Sleep(3 * time.Second)
			if _, err := c.Acquire(t.Context(), support); !errors.Is(err, &tokenclient.Error{Reason: "POLICY_DENIED"}) {
				t.Fatal(err)
			}
		})
	})
}

// A broker that ends its streams now and then costs nothing; nor do its callers notice.
func TestCacheWatchesAgain(t *testing.T) {
	inCache(t, func(t *testing.T, b *brokertest.Broker, c *tokenclient.Cache) {
		must(t, c, t.Context(), support)
		for range 20 {
			time.Sleep(3 * time.Second)
			if len(b.Watched()) != 1 {
				t.Fatal("not watched")
			}
			b.EndWatches()
			must(t, c, now(t), support)
		}
		time.Sleep(time.Hour)
		must(t, c, now(t), support)
	})
}

// An older broker is asked each time, as without a cache; should it be away, what is held serves. Once it is replaced by a
// newer one its tokens are watched.
func TestCacheBeforeAnOlderBroker(t *testing.T) {
	inCache(t, func(t *testing.T, b *brokertest.Broker, c *tokenclient.Cache) {
		b.Unwatchable(true)
		must(t, c, t.Context(), support)
		time.Sleep(time.Minute)
		asked := len(b.Asks())
		for range 10 {
			must(t, c, t.Context(), support)
		}
		if n := len(b.Asks()) - asked; n != 10 {
			t.Errorf("asked %d times of 10", n)
		}
		b.Stop()
		start := time.Now()
		must(t, c, t.Context(), support)
		if waited := time.Since(start); waited > 5*time.Second {
			t.Errorf("waited %v for a broker that is away", waited)
		}
		b.Start()
		b.Unwatchable(false)
		time.Sleep(11 * time.Minute)
		asked = len(b.Asks())
		must(t, c, now(t), support)
		if len(b.Asks()) != asked || len(b.Watched()) != 1 {
			t.Error("still asked each time")
		}
	})
}

// More mailboxes than a stream takes; those that nobody asks for any more are let go, and with the last one the stream.
func TestCacheOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 1300
		b := brokertest.New(t)
		all := make([]tokenclient.Settings, n)
		for i := range all {
			all[i] = settings(tokenclient.XOAUTH2)
			all[i].Mailbox = fmt.Sprintf("box%d@contoso.com", i)
		}
		b.SetMailboxes(all...)
		lives(b, time.Hour)
		c := cache(t, b.Client(t))
		for i, s := range all {
			must(t, c, t.Context(), s.Ask())
			if i%100 == 0 {
				time.Sleep(time.Second)
			}
		}
		time.Sleep(time.Minute)
		if w := b.Watched(); len(w) != 2 || len(w[0]) != 1000 || len(w[1]) != 300 {
			t.Fatalf("%d streams", len(w))
		}
		asked := len(b.Asks())
		for range 8 {
			time.Sleep(40 * time.Minute)
			for _, s := range all[:10] {
				must(t, c, now(t), s.Ask())
			}
		}
		b.EndWatches()
		time.Sleep(time.Minute)
		if w := b.Watched(); len(w) != 1 || len(w[0]) != 10 {
			t.Fatalf("%d streams watch what nobody asks for", len(w))
		}
		if len(b.Asks()) != asked {
			t.Error("the broker was asked")
		}
		time.Sleep(24 * time.Hour)
		b.EndWatches()
		time.Sleep(time.Minute)
		if len(b.Watched()) != 0 {
			t.Error("watched for nobody")
		}
		must(t, c, t.Context(), all[0].Ask())
	})
}

// A password does not expire, but it is not given out for ever without the broker.
func TestCachePassword(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := brokertest.New(t)
		b.SetMailboxes(settings(tokenclient.Basic))
		c := cache(t, b.Client(t))
		first := must(t, c, t.Context(), support)
		if !first.IsPassword() {
			t.Fatal("no password")
		}
		time.Sleep(3 * time.Second)
		b.Stop()
		time.Sleep(50 * time.Minute)
		must(t, c, now(t), support)
		time.Sleep(15 * time.Minute)
		if _, err := c.Acquire(now(t), support); err == nil {
			t.Error("a password outlived the broker by more than an hour")
		}
		b.Start()
		time.Sleep(time.Minute)
		must(t, c, t.Context(), support)
		if _, err := c.Reject(t.Context(), support, first, tokenclient.Refusal{Kind: tokenclient.RefusedBySASL}); err != nil {
			t.Fatal(err)
		}
		asked := len(b.Asks())
		if must(t, c, t.Context(), support); len(b.Asks()) != asked+1 {
			t.Error("a refused password is given out from memory")
		}
	})
}

func TestCacheClosed(t *testing.T) {
	inCache(t, func(t *testing.T, b *brokertest.Broker, c *tokenclient.Cache) {
		must(t, c, t.Context(), support)
		time.Sleep(3 * time.Second)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(b.Watched()) != 0 {
			t.Error("still watching")
		}
		asked := len(b.Asks())
		if must(t, c, t.Context(), support); len(b.Asks()) != asked+1 {
			t.Error("answered from a memory that was closed")
		}
	})
}
