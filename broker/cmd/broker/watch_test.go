package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/resolver"
	resolving "google.golang.org/grpc/resolver/manual"

	"mailporter/broker/internal/store/seal"
	"mailporter/kit/certtest"
	"mailporter/kit/daemon"
	"mailporter/kit/redistest"
	"mailporter/kit/tokenclient"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

// names is the resolver that knows where the brokers of a test are.
var names = resolving.NewBuilderWithScheme("test-fleet")

func init() { resolver.Register(names) }

// to is what the resolver says while these are the brokers.
func to(fleet ...*site) (state resolver.State) {
	for _, s := range fleet {
		state.Addresses = append(state.Addresses, resolver.Address{Addr: s.addr})
	}
	return state
}

// worker is the broker as a worker has it: a cache over mutual TLS that finds the brokers by their name.
func (s *site) worker(log io.Writer) *tokenclient.Cache {
	s.t.Helper()
	pair := s.issue(certtest.Options{CommonName: "worker", URI: worker})
	s.write("worker/cert.pem", string(pair.Certificate))
	s.write("worker/key.pem", string(pair.Key))
	client, err := tokenclient.Dial(tokenclient.Config{Address: "test-fleet:///127.0.0.1:9443", TLS: daemon.TLSFiles{
		Certificate: filepath.Join(s.dir, "worker/cert.pem"), Key: filepath.Join(s.dir, "worker/key.pem"), CA: filepath.Join(s.dir, "tls/ca.pem")}},
		slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		s.t.Fatal(err)
	}
	cache := tokenclient.NewCache(client)
	s.t.Cleanup(func() {
		if err := errors.Join(cache.Close(), client.Close()); err != nil {
			s.t.Error(err)
		}
	})
	return cache
}

// watched waits until the broker pushes the tokens of so many streams.
func (s *site) watched(streams string) {
	s.t.Helper()
	s.await("broker_streams "+streams+"\n", s.metrics)
}

// await waits until text is part of what look shows.
func (s *site) await(text string, look func() string) {
	s.t.Helper()
	for late := time.Now().Add(time.Minute); !strings.Contains(look(), text); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(late) {
			s.t.Fatalf("%q never came", text)
		}
	}
}

var app = tokenclient.Ask{Mailbox: "app@contoso.example", Direction: tokenclient.Inbound}

// atHand is a token that nobody had to be asked for.
func atHand(t *testing.T, c *tokenclient.Cache) tokenclient.Token {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // no call would get through
	tok, err := c.Acquire(ctx, app)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// A broker is told to stop while streams are open: it does so at once, its workers go on, and watch the next one.
func TestWorkersOutliveTheBroker(t *testing.T) {
	sb := provider(t, time.Hour)
	s := newSite(t, sb, "file:state")
	s.write("broker.yaml", s.read("broker.yaml")+"drain-time: \"00:10:00\"\n") // longer than any test
	s.start()
	names.InitialState(to(s))
	log := newOutput()
	c := s.worker(log)
	first, err := c.Acquire(t.Context(), app)
	if err != nil {
		t.Fatal(err)
	}
	s.watched("1")
	s.end()
	for range 3 {
		if tok := atHand(t, c); !tok.Value.Equal(first.Value) {
			t.Error("another token without a broker")
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.start()
	names.UpdateState(to(s))
	s.watched("1")
	atHand(t, c)
	if n := sb.TokenRequests().Total; n != 1 {
		t.Errorf("%d token requests", n)
	}
	for _, bad := range []string{"level=ERROR", "MARKER", first.Value.Reveal()} {
		if strings.Contains(log.String(), bad) {
			t.Errorf("%s is in the worker's log", bad)
		}
	}
}

// Of two brokers behind one name the one goes away: its streams move to the other, and with them the renewals, Redis or not.
func TestStreamsMoveToAnotherBroker(t *testing.T) {
	redis, sb := redistest.Start(t), provider(t, shortLife)
	one := newSite(t, sb, redis.URL())
	if err := seal.Make(filepath.Join(one.dir, "secrets/keyset.json")); err != nil {
		t.Fatal(err)
	}
	two := *one
	one.start()
	two.start()
	names.InitialState(to(one, &two))
	c := one.worker(io.Discard)
	if _, err := c.Acquire(t.Context(), app); err != nil {
		t.Fatal(err)
	}
	var from, next *site
	one.await("found", func() string {
		for _, pair := range [][2]*site{{one, &two}, {&two, one}} {
			if strings.Contains(pair[0].metrics(), "broker_streams 1\n") {
				from, next = pair[0], pair[1]
				return "found"
			}
		}
		return ""
	})
	from.end()
	next.watched("1")
	redis.Kill()
	generation := atHand(t, c).Generation
	one.await("newer", func() string {
		if atHand(t, c).Generation > generation {
			return "newer"
		}
		return ""
	})
}

// A right that is taken away is gone from the stream with the reload of the file.
func TestWatchedTokenIsWithdrawn(t *testing.T) {
	s := newSite(t, provider(t, time.Hour), "file:state")
	s.start()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stream, err := s.connect(worker).WatchTokens(ctx, &brokerv1.WatchTokensRequest{Selectors: []*brokerv1.Selector{
		{Mailbox: "app@contoso.example", Direction: in}, {Mailbox: "orders@shop.example", Direction: in}}})
	if err != nil {
		t.Fatal(err)
	}
	set, err := stream.Recv()
	if err != nil || set.GetEntries()[0].GetAccessToken() == nil || set.GetEntries()[1].GetAccessToken() == nil {
		t.Fatalf("%v", err)
	}
	s.write("policy.yaml", strings.Replace(policy, `"*@contoso.example", `, "", 1))
	if set, err = stream.Recv(); err != nil || set.GetEntries()[0].GetFailure().GetReason() != "POLICY_DENIED" || set.GetEntries()[1].GetAccessToken() == nil {
		t.Fatalf("%v", err)
	}
}
