package tokenclient_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/kit/tokenclient/brokertest"
)

// seen notes the sets that a watch was given.
type seen struct {
	mu   sync.Mutex
	sets [][]tokenclient.Settings
}

func (s *seen) add(set []tokenclient.Settings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sets = append(s.sets, set)
}

// names are the mailboxes of every set: "a b|a".
func (s *seen) names() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var sets []string
	for _, set := range s.sets {
		var names []string
		for _, m := range set {
			names = append(names, m.Mailbox)
		}
		sets = append(sets, strings.Join(names, " "))
	}
	return strings.Join(sets, "|")
}

func inbound(name string) tokenclient.Settings {
	return tokenclient.Settings{Mailbox: name, Direction: tokenclient.Inbound, Protocol: tokenclient.IMAP}
}

// watch runs a watch until the test's end, inside a bubble.
func watch(t *testing.T, c *tokenclient.Client, s *seen) {
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.WatchMailboxes(ctx, tokenclient.IMAP, tokenclient.Inbound, s.add) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	})
}

func TestWatchMailboxes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := brokertest.New(t)
		b.SetMailboxes(inbound("a"), inbound("b"), tokenclient.Settings{Mailbox: "c", Direction: tokenclient.Outbound, Protocol: tokenclient.SMTP})
		var s seen
		watch(t, b.Client(t), &s)
		synctest.Wait()
		b.SetMailboxes(inbound("a"))
		synctest.Wait()
		b.SetMailboxes(inbound("a")) // nothing changed
		synctest.Wait()
		b.SetMailboxes()
		synctest.Wait()
		if got := s.names(); got != "a b|a|" {
			t.Fatal(got)
		}
	})
}

func TestWatchMailboxesSurvivesOutages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		b := brokertest.New(t)
		b.SetMailboxes(inbound("a"))
		var s seen
		watch(t, b.ClientWithLog(t, slog.New(slog.NewTextHandler(&log, nil))), &s)
		for range 2 {
			synctest.Wait()
			b.Stop()
			time.Sleep(10 * time.Minute)
			b.Start()
			time.Sleep(30 * time.Second)
		}
		if got := s.names(); got != "a" {
			t.Errorf("an outage is no change: %s", got)
		}
		b.SetMailboxes(inbound("b"))
		synctest.Wait()
		if got := s.names(); got != "a|b" {
			t.Errorf("not watching any more: %s", got)
		}
		if n := strings.Count(log.String(), "level=WARN"); n != 2 {
			t.Errorf("%d warnings for two outages:\n%s", n, log.String())
		}
	})
}

func TestWatchMailboxesWaitsForTheFirstBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := brokertest.New(t)
		b.Stop()
		var s seen
		watch(t, b.Client(t), &s)
		time.Sleep(time.Minute)
		b.SetMailboxes(inbound("a"))
		b.Start()
		time.Sleep(30 * time.Second)
		if got := s.names(); got != "a" {
			t.Fatal(got)
		}
	})
}

// Every field goes through the contract and comes back.
func TestSettingsRoundTrip(t *testing.T) {
	in := tokenclient.Settings{
		Mailbox: "a", Direction: tokenclient.Inbound, Protocol: tokenclient.IMAP, Margin: 10 * time.Second, Version: "v1",
		Endpoint: tokenclient.Endpoint{Server: "mail.example", Port: 993, Security: tokenclient.TLS, User: "u", Mechanism: tokenclient.XOAUTH2,
			ConnectTimeout: time.Second, ProtocolTimeout: time.Minute, Proxy: "socks5://p:1", TwoLine: true, Impersonate: true},
		Inbound: tokenclient.InboundSettings{Folders: []string{"INBOX", "x"}, CycleTime: time.Minute, MaxSize: 1 << 40, MaxNumber: 7,
			After: tokenclient.Move, AfterFolder: "done", FailedFolder: "bad", Junk: tokenclient.JunkRead, DeliverTo: "desk"},
	}
	out := in
	out.Direction, out.Protocol, out.Inbound = tokenclient.Outbound, tokenclient.SMTP, tokenclient.InboundSettings{}
	out.Outbound = tokenclient.OutboundSettings{PoolSize: 3, CheckIdle: time.Second, MaxIdle: time.Minute, OnUnknown: tokenclient.HoldUnknown,
		SenderAliases: []string{"*@x"}, AllowDelegate: true,
		Limits:    []tokenclient.Limit{{Unit: tokenclient.Messages, Most: 30, Window: time.Minute}},
		SentItems: &tokenclient.SentItems{Protocol: tokenclient.IMAP, Endpoint: in.Endpoint, Margin: time.Second, Folder: "Sent/2026"}}
	for _, want := range []tokenclient.Settings{in, out} {
		t.Run(want.Direction.String(), func(t *testing.T) {
			requireNoZero(t, want)
			synctest.Test(t, func(t *testing.T) {
				b := brokertest.New(t)
				b.SetMailboxes(want)
				ctx, cancel := context.WithCancel(t.Context())
				err := b.Client(t).WatchMailboxes(ctx, 0, 0, func(got []tokenclient.Settings) {
					cancel()
					if !reflect.DeepEqual(got, []tokenclient.Settings{want}) {
						t.Errorf("%+v\nwant %+v", got, want)
					}
				})
				if !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
		})
	}
}

// requireNoZero guards the round trip against fields that were added and not filled in.
func requireNoZero(t *testing.T, s tokenclient.Settings) {
	t.Helper()
	side := reflect.ValueOf(s.Inbound)
	if s.Direction == tokenclient.Outbound {
		side = reflect.ValueOf(s.Outbound)
	}
	for _, v := range []reflect.Value{reflect.ValueOf(s.Endpoint), side} {
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Error(fmt.Sprint(v.Type(), ".", v.Type().Field(i).Name, " is not filled in"))
			}
		}
	}
}
