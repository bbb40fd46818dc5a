package lmtp

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"mailporter/kit/certtest"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/inbound/inboundtest"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/wire"
)

var (
	inbox  = mail.Folder{Mailbox: "support@contoso.example", Name: "INBOX"}
	letter = mail.Bytes("Subject: one\r\n\r\n.body\r\n")
)

func newSink(t *testing.T, c Config, d inbound.Deliveries) *Sink {
	t.Helper()
	s, err := New(c, d)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func plain(t *testing.T, s *server) *Sink {
	t.Helper()
	return newSink(t, Config{Address: s.address, Security: wire.Plain}, &inboundtest.DeliveriesInMemory{})
}

func TestSink(t *testing.T) {
	for name, unix := range map[string]bool{"tcp": false, "unix socket": true} {
		t.Run(name, func(t *testing.T) {
			inboundtest.Sink(t, func(t *testing.T) inboundtest.SinkStore {
				server, remembered := startServer(t, unix, everything), &inboundtest.DeliveriesInMemory{}
				return inboundtest.SinkStore{
					Open: func(t *testing.T) inbound.Sink {
						return newSink(t, Config{Address: server.address, Security: wire.Plain}, remembered)
					},
					Messages: func(*testing.T) [][]byte { return server.messages() },
				}
			})
		})
	}
}

// TestData: without CHUNKING everything that DATA can carry arrives equal, and what it cannot is refused for good.
func TestData(t *testing.T) {
	s := startServer(t, false, "8BITMIME")
	sink := plain(t, s)
	var want [][]byte
	for name, body := range inboundtest.Awkward() {
		err := sink.Put(t.Context(), inbox, inbound.Item{Key: name}, mail.Bytes(body))
		switch {
		case inboundtest.Lone(body):
			if fault.Of(err) != fault.Permanent {
				t.Errorf("%s: %v, want a refusal for good", name, err)
			}
			continue
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case len(body) > 0 && !bytes.HasSuffix(body, []byte("\r\n")): // DATA ends with a line end
			body = append(slices.Clone(body), "\r\n"...)
		}
		want = append(want, body)
	}
	got := s.messages()
	slices.SortFunc(got, slices.Compare)
	slices.SortFunc(want, slices.Compare)
	if !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("%d messages arrived, want %d, byte for byte", len(got), len(want))
	}
	if !slices.Contains(s.envelope, "MAIL FROM:<> BODY=8BITMIME") || !slices.Contains(s.envelope, "RCPT TO:<support@contoso.example>") {
		t.Errorf("envelope %q", s.envelope)
	}
}

// TestRefusals: what is about the message is final, what is about the mailbox or the server is not. The connection serves
// the next message either way.
func TestRefusals(t *testing.T) {
	for name, tc := range map[string]struct {
		at, answer string
		kind       fault.Kind
		reason     string
	}{
		"sender":        {"MAIL", "451 4.3.0 later", fault.Temporary, ""},
		"size":          {"MAIL", "552 5.3.4 too large", fault.Permanent, ""},
		"unknown":       {"RCPT", "550 5.1.1 no such user", fault.Temporary, "LMTP_UNKNOWN_RECIPIENT"},
		"full":          {"RCPT", "452 4.2.2 quota exceeded", fault.Temporary, "LMTP_MAILBOX_FULL"},
		"full at last":  {"BDAT 0", "552 5.2.2 quota exceeded", fault.Temporary, "LMTP_MAILBOX_FULL"},
		"full, no code": {"BDAT 0", "552 quota exceeded", fault.Temporary, "LMTP_MAILBOX_FULL"},
		"busy":          {"BDAT 0", "451 4.3.0 disk", fault.Temporary, ""},
		"rejected":      {"BDAT 0", "554 5.6.0 malformed", fault.Permanent, ""},
		"first chunk":   {"BDAT 2", "554 5.6.0 malformed", fault.Permanent, ""},
		"closing":       {"MAIL", "421 4.3.2 shutting down", fault.Temporary, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, false, everything)
			var refused atomic.Bool
			s.reply = func(command string) (string, bool) {
				return tc.answer, strings.HasPrefix(command, tc.at) && refused.CompareAndSwap(false, true)
			}
			sink := plain(t, s)
			err := sink.Put(t.Context(), inbox, inbound.Item{Key: "1"}, letter)
			var e *fault.Error
			if err == nil || fault.Of(err) != tc.kind || tc.reason != "" && (!errors.As(err, &e) || e.Reason != tc.reason) {
				t.Fatalf("%v, want %v %s", err, tc.kind, tc.reason)
			}
			if !strings.Contains(err.Error(), tc.answer) {
				t.Errorf("%v does not tell what the server said", err)
			}
			if err := sink.Put(t.Context(), inbox, inbound.Item{Key: "2"}, letter); err != nil || len(s.messages()) != 1 {
				t.Errorf("the next message: %v, %d there", err, len(s.messages()))
			}
		})
	}
}

// TestClosedMeanwhile: a server that closed an idle connection costs nothing but a new one.
func TestClosedMeanwhile(t *testing.T) {
	s := startServer(t, false, everything)
	var cut atomic.Bool
	s.reply = func(command string) (string, bool) {
		return "", strings.HasPrefix(command, "MAIL") && cut.CompareAndSwap(true, false)
	}
	sink := plain(t, s)
	for _, key := range []string{"1", "2"} {
		if err := sink.Put(t.Context(), inbox, inbound.Item{Key: key}, letter); err != nil {
			t.Fatal(err)
		}
		cut.Store(true)
	}
	if len(s.messages()) != 2 || s.dialled != 2 {
		t.Errorf("%d messages over %d connections", len(s.messages()), s.dialled)
	}
}

// TestLostAnswer: nobody knows whether the server has it, so it goes again; that it may be doubled is stated.
func TestLostAnswer(t *testing.T) {
	s := startServer(t, false, "8BITMIME")
	var lost atomic.Bool
	s.reply = func(command string) (string, bool) { return "", command == "." && lost.CompareAndSwap(false, true) }
	sink := plain(t, s)
	if err := sink.Put(t.Context(), inbox, inbound.Item{Key: "1"}, letter); err == nil || fault.Of(err) != fault.Temporary {
		t.Fatalf("a lost answer is %v", err)
	}
	if err := sink.Put(t.Context(), inbox, inbound.Item{Key: "1"}, letter); err != nil || len(s.messages()) != 2 {
		t.Fatalf("%v, %d there", err, len(s.messages()))
	}
}

// forgetful is a state that does not take notes at first.
type forgetful struct {
	inboundtest.DeliveriesInMemory
	failures atomic.Int32
}

func (f *forgetful) Note(ctx context.Context, id string) error {
	if f.failures.Add(-1) >= 0 {
		return errors.New("the state is away")
	}
	return f.DeliveriesInMemory.Note(ctx, id)
}

// TestStateAway: what was handed over and could not be noted is not handed over again.
func TestStateAway(t *testing.T) {
	s, state := startServer(t, false, everything), &forgetful{}
	state.failures.Store(2)
	sink := newSink(t, Config{Address: s.address, Security: wire.Plain}, state)
	for range 2 {
		if err := sink.Put(t.Context(), inbox, inbound.Item{Key: "1"}, letter); err == nil {
			t.Fatal("nobody was told that the state is away")
		}
	}
	if err := sink.Put(t.Context(), inbox, inbound.Item{Key: "1"}, letter); err != nil || len(s.messages()) != 1 {
		t.Errorf("%v, %d copies", err, len(s.messages()))
	}
}

func TestStartTLS(t *testing.T) {
	ca, err := certtest.NewCA("test CA")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Issue(certtest.Options{DNS: []string{"localhost"}})
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := pair.TLS()
	if err != nil {
		t.Fatal(err)
	}
	for name, extensions := range map[string]string{"offered": "STARTTLS CHUNKING", "not offered": "CHUNKING"} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, false, extensions)
			s.tls = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13}
			address := strings.Replace(s.address, "127.0.0.1", "localhost", 1)
			sink := newSink(t, Config{Address: address, Security: wire.StartTLS, Roots: ca.Pool()}, &inboundtest.DeliveriesInMemory{})
			err := sink.Put(t.Context(), inbox, inbound.Item{Key: "1"}, letter)
			if offered := name == "offered"; (err == nil) != offered || (len(s.messages()) == 1) != offered {
				t.Errorf("%v, %d messages", err, len(s.messages()))
			}
			if name == "not offered" && !strings.Contains(err.Error(), "never sent in the clear") {
				t.Errorf("no remedy in %v", err)
			}
		})
	}
}

func TestChecks(t *testing.T) {
	for address, want := range map[string]bool{"127.0.0.1:24": true, "lmtp.example:24": true, "unix:/run/lmtp": true, "unix:": false, "": false, "host": false, "host:0": false, ":24": false, "host:x": false} {
		if err := Check(address); (err == nil) != want {
			t.Errorf("address %q: %v", address, err)
		}
	}
	for recipient, want := range map[string]bool{"{mailbox}": true, "all@x.example": true, "": false, "a b": false, "a>\r\nRSET": false} {
		if err := CheckRecipient(recipient); (err == nil) != want {
			t.Errorf("recipient %q: %v", recipient, err)
		}
	}
	sink := plain(t, startServer(t, false, everything))
	if err := sink.Put(t.Context(), mail.Folder{Mailbox: "a>\r\nRSET"}, inbound.Item{Key: "1"}, letter); err == nil {
		t.Error("a mailbox that is no address was sent as one")
	}
}
