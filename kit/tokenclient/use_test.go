package tokenclient_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/kit/tokenclient/brokertest"
)

var support = tokenclient.Ask{Mailbox: "support@contoso.com", Direction: tokenclient.Inbound}

func settings(m tokenclient.Mechanism) tokenclient.Settings {
	return tokenclient.Settings{Mailbox: support.Mailbox, Direction: support.Direction, Protocol: tokenclient.IMAP,
		Margin: 10 * time.Second, Endpoint: tokenclient.Endpoint{Server: "mail.example", Port: 993, User: support.Mailbox, Mechanism: m}}
}

// refused is what a protocol says when the server did not take the token.
type refused struct{ reply string }

func (e refused) Error() string      { return e.reply }
func (e refused) TokenRefused() bool { return true }

// exact knows more about the refusal.
type exact struct{ refused }

func (e exact) Refusal() tokenclient.Refusal {
	return tokenclient.Refusal{Kind: tokenclient.RefusedInFlight, Server: "mail.example:993", Reply: e.reply}
}

// server refuses the first so many tokens and notes which ones it saw.
type server struct {
	refuse int
	err    error
	seen   []string
}

func (s *server) login(_ context.Context, tok tokenclient.Token) (string, error) {
	s.seen = append(s.seen, tok.Value.Reveal())
	if len(s.seen) <= s.refuse {
		return "", fmt.Errorf("authenticate: %w", s.err)
	}
	return "session of " + tok.User, nil
}

func TestUse(t *testing.T) {
	no := refused{"NO [AUTHENTICATIONFAILED]"}
	for name, tc := range map[string]struct {
		server    server
		mechanism tokenclient.Mechanism
		prepare   func(*brokertest.Broker)
		seen      string // tokens that the server saw
		reports   int
		fails     bool
	}{
		"accepted":         {seen: "token-1"},
		"refused once":     {server: server{refuse: 1, err: no}, seen: "token-1 token-2", reports: 1},
		"refused always":   {server: server{refuse: 9, err: no}, seen: "token-1 token-2", reports: 2, fails: true},
		"other error":      {server: server{refuse: 1, err: errors.New("reset")}, seen: "token-1", fails: true},
		"password refused": {server: server{refuse: 1, err: no}, mechanism: tokenclient.Basic, seen: "token-1", reports: 1, fails: true},
		"suppressed": {server: server{refuse: 1, err: no}, seen: "token-1", reports: 1, fails: true,
			prepare: func(b *brokertest.Broker) { b.Suppress(&tokenclient.Outcome{}) }},
		"same token again": {server: server{refuse: 1, err: no}, seen: "same", reports: 1, fails: true,
			prepare: func(b *brokertest.Broker) {
				b.OnMint(func(tokenclient.Ask) (string, time.Time, error) { return "same", time.Now().Add(time.Hour), nil })
			}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := brokertest.New(t)
				mechanism := tc.mechanism
				if mechanism == 0 {
					mechanism = tokenclient.XOAUTH2
				}
				b.SetMailboxes(settings(mechanism))
				if tc.prepare != nil {
					tc.prepare(b)
				}
				s := tc.server
				got, tok, err := tokenclient.Use(t.Context(), b.Client(t), support, s.login)
				if seen := strings.Join(s.seen, " "); seen != tc.seen {
					t.Errorf("the server saw %q, want %q", seen, tc.seen)
				}
				if n := len(b.Rejections()); n != tc.reports {
					t.Errorf("%d reports, want %d", n, tc.reports)
				}
				if (err != nil) != tc.fails || err != nil && !errors.Is(err, s.err) {
					t.Errorf("error %v", err)
				}
				if err == nil && got != "session of "+support.Mailbox {
					t.Errorf("got %q", got)
				}
				if tok.Value.Reveal() != s.seen[len(s.seen)-1] {
					t.Error("the token returned is not the one that was used last")
				}
			})
		})
	}
}

// Between the refusal and the report somebody else may have reported the same token: then nothing is minted for us.
func TestUseTakesTheTokenThatOthersGot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := brokertest.New(t)
		b.SetMailboxes(settings(tokenclient.XOAUTH2))
		c := b.Client(t)
		s := server{refuse: 1, err: refused{"NO"}}
		_, tok, err := tokenclient.Use(t.Context(), c, support, func(ctx context.Context, tok tokenclient.Token) (string, error) {
			if len(s.seen) == 0 {
				b.Replace(support)
				if _, err := c.Acquire(ctx, support); err != nil {
					t.Error(err)
				}
			}
			return s.login(ctx, tok)
		})
		if err != nil || tok.Value.Reveal() != "token-2" || b.Minted() != 2 {
			t.Fatalf("%v, %v, %d minted", tok, err, b.Minted())
		}
		if last := b.Asks()[len(b.Asks())-1]; last.NewerThan != 0 {
			t.Errorf("asked for newer than %d though the token was replaced already", last.NewerThan)
		}
	})
}

// After the broker said Replacing, only a newer token will do: another replica may not have heard of the report yet.
func TestUseAsksForANewerToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := brokertest.New(t)
		b.SetMailboxes(settings(tokenclient.XOAUTH2))
		s := server{refuse: 1, err: refused{"NO"}}
		ask := support
		ask.MinValidity = time.Minute
		if _, _, err := tokenclient.Use(t.Context(), b.Client(t), ask, s.login); err != nil {
			t.Fatal(err)
		}
		newer := ask
		newer.NewerThan = 1
		if got := b.Asks(); !slices.Equal(got, []tokenclient.Ask{ask, newer}) {
			t.Fatalf("asked %+v", got)
		}
	})
}

func TestUseTellsTheRemedy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := brokertest.New(t)
		b.SetMailboxes(settings(tokenclient.XOAUTH2))
		b.Suppress(&tokenclient.Outcome{Wait: 10 * time.Minute, Remedy: "the Exchange administrator must enable IMAP"})
		s := server{refuse: 1, err: refused{"NO"}}
		_, _, err := tokenclient.Use(t.Context(), b.Client(t), support, s.login)
		var e *tokenclient.Error
		if !errors.As(err, &e) || e.Wait != 10*time.Minute || !e.NeedsHuman() || !errors.Is(err, s.err) {
			t.Fatalf("%#v", err)
		}
		want := "use token for support@contoso.com inbound: SERVER_REJECTS_FRESH_TOKEN: authenticate: NO (the Exchange administrator must enable IMAP)"
		if err.Error() != want {
			t.Fatalf("%s\nwant: %s", err, want)
		}
	})
}

func TestUseReports(t *testing.T) {
	for name, tc := range map[string]struct {
		err       error
		mechanism tokenclient.Mechanism
		want      tokenclient.Refusal
	}{
		"guessed, SASL": {refused{"NO"}, tokenclient.OAUTHBEARER, tokenclient.Refusal{Kind: tokenclient.RefusedBySASL, Reply: "authenticate: NO"}},
		"guessed, HTTP": {refused{"401"}, tokenclient.Bearer, tokenclient.Refusal{Kind: tokenclient.RefusedByHTTP, Reply: "authenticate: 401"}},
		"exact": {exact{refused{"BYE"}}, tokenclient.XOAUTH2,
			tokenclient.Refusal{Kind: tokenclient.RefusedInFlight, Server: "mail.example:993", Reply: "BYE"}},
		"echoed token": {exact{refused{"bad token token-1!"}}, tokenclient.XOAUTH2,
			tokenclient.Refusal{Kind: tokenclient.RefusedInFlight, Server: "mail.example:993", Reply: "bad token [secret]!"}},
		"echoed in part": {exact{refused{"bad token " + strings.Repeat("eyJ0", 16) + ", try again"}}, tokenclient.XOAUTH2,
			tokenclient.Refusal{Kind: tokenclient.RefusedInFlight, Server: "mail.example:993", Reply: "bad token [secret], try again"}},
		"long reply": {exact{refused{strings.Repeat("no, ", 150)}}, tokenclient.XOAUTH2,
			tokenclient.Refusal{Kind: tokenclient.RefusedInFlight, Server: "mail.example:993", Reply: strings.Repeat("no, ", 128)}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := brokertest.New(t)
				b.SetMailboxes(settings(tc.mechanism))
				s := server{refuse: 1, err: tc.err}
				if _, _, err := tokenclient.Use(t.Context(), b.Client(t), support, s.login); err != nil {
					t.Fatal(err)
				}
				tc.want.At = time.Now().UTC()
				want := []brokertest.Rejection{{Ask: support, Refusal: tc.want, Current: true}}
				if got := b.Rejections(); !slices.Equal(got, want) {
					t.Fatalf("%+v\nwant: %+v", got, want)
				}
			})
		})
	}
}

// script is a Broker that answers as told, for what a real one does not do on demand.
type script struct {
	acquire []error
	reject  error
	n       int
}

func (s *script) Acquire(context.Context, tokenclient.Ask) (tokenclient.Token, error) {
	s.n++
	return tokenclient.Token{Generation: int64(s.n)}, s.acquire[s.n-1]
}

func (s *script) Reject(context.Context, tokenclient.Ask, tokenclient.Token, tokenclient.Refusal) (tokenclient.Outcome, error) {
	return tokenclient.Outcome{Kind: tokenclient.Replacing}, s.reject
}

func TestUseWithoutBroker(t *testing.T) {
	away := &tokenclient.Error{Op: "ask", Class: tokenclient.Transient}
	no := refused{"NO"}
	for name, tc := range map[string]struct {
		broker script
		calls  int
		wraps  []error
	}{
		"at first":      {script{acquire: []error{away}}, 0, []error{away}},
		"at the report": {script{acquire: []error{nil}, reject: away}, 1, []error{no, away}},
		"at the second": {script{acquire: []error{nil, away}}, 1, []error{no, away}},
	} {
		t.Run(name, func(t *testing.T) {
			s := server{refuse: 9, err: no}
			_, _, err := tokenclient.Use(t.Context(), &tc.broker, support, s.login)
			for _, want := range tc.wraps {
				if !errors.Is(err, want) {
					t.Errorf("%v does not wrap %v", err, want)
				}
			}
			if len(s.seen) != tc.calls {
				t.Errorf("%d calls, want %d", len(s.seen), tc.calls)
			}
		})
	}
}
