package outboundtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
)

// Trouble is what a Server does wrong.
type Trouble int

// What can go wrong, each once unless it says otherwise.
const (
	TryLater         Trouble = iota + 1 // the message is refused for now
	Throttle                            // the mailbox is asked for patience
	Refuse                              // the message is refused for good
	CutBefore                           // the link breaks when the message has come in, before it is accepted
	CutAfter                            // the link breaks when it is accepted, before that is said
	RefuseToken                         // the token is refused
	RefuseTokens                        // every token is refused
	TokensExpireSoon                    // tokens are good for one message from now on
	DeferOne                            // the next recipient is refused for now
)

// Server is the far side of a Transport. Its messages are what it took, not what it stored for whom.
type Server struct {
	From  string   // an address that may send
	To    []string // two addresses that exist
	NoOne string   // one that the server refuses for good
	// Troubles are what the server can do; the cases of others are left out of the suite.
	Troubles []Trouble
	// Cause makes the trouble happen from now on.
	Cause func(t *testing.T, what Trouble)
	// Taken is what arrived for an address, in order.
	Taken func(t *testing.T, address string) [][]byte
	// Open makes the Transport; the test closes it.
	Open func(t *testing.T) outbound.Transport
	// Away makes one to a port where nobody listens; the test closes it.
	Away func(t *testing.T) outbound.Transport
	// Secrets are what must not be printed.
	Secrets func() []string
	// AllOrNothing: the server takes a message for everyone or for nobody; NoOne spoils it for all.
	AllOrNothing bool
	// Wire is everything that went over the wire as the trace saw it; nil if there is no trace.
	Wire func() string
}

// Transport tests an implementation; fresh starts a server for each case.
func Transport(t *testing.T, fresh func(t *testing.T) *Server) {
	t.Helper()
	for _, c := range []struct {
		name  string
		needs Trouble
		run   func(*testing.T, *Server, outbound.Transport)
	}{
		{"accepted", 0, accepted},
		{"bytes arrive as they are", 0, bytesArrive},
		{"one recipient refused", 0, oneRefused},
		{"one recipient refused for now", DeferOne, oneDeferred},
		{"all recipients refused", 0, allRefused},
		{"after a refusal the next goes through", 0, afterRefusal},
		{"bcc is honoured and unseen", 0, bcc},
		{"many side by side", 0, sideBySide},
		{"a body that breaks off is not sent", 0, bodyBreaks},
		{"a body that cannot be opened", 0, bodyMissing},
		{"a cancelled context sends nothing", 0, cancelled},
		{"refused for now", TryLater, kind(TryLater, fault.Temporary)},
		{"throttled", Throttle, kind(Throttle, fault.Throttled)},
		{"refused for good", Refuse, kind(Refuse, fault.Permanent)},
		{"a server that is away", 0, serverAway},
		{"cut before acceptance", CutBefore, cutBefore},
		{"cut after acceptance", CutAfter, cutAfter},
		{"cut after acceptance, one refused", CutAfter, cutAfterRefusal},
		{"a refused token is replaced", RefuseToken, tokenReplaced},
		{"tokens refused for ever", RefuseTokens, kind(RefuseTokens, fault.Auth)},
		{"tokens that expire", TokensExpireSoon, tokensExpire},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := fresh(t)
			if c.needs != 0 && !slices.Contains(s.Troubles, c.needs) {
				return // this server cannot do that
			}
			tr := s.Open(t)
			c.run(t, s, tr)
			if err := tr.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			s.mustNotShow(t, s.wire())
		})
	}
}

func (s *Server) wire() string {
	if s.Wire == nil {
		return ""
	}
	return s.Wire()
}

func (s *Server) mustNotShow(t *testing.T, text string) {
	t.Helper()
	for _, secret := range s.Secrets() {
		if strings.Contains(text, secret) {
			t.Errorf("a secret shows in %.200q", text)
		}
	}
}

// text is a small message of its own.
func text(s *Server, subject string) mail.Bytes {
	return mail.Bytes("From: <" + s.From + ">\r\nSubject: " + subject + "\r\n\r\nHello.\r\n")
}

func envelope(s *Server, to ...string) mail.Envelope {
	e := mail.Envelope{From: s.From}
	for _, a := range to {
		e.Recipients = append(e.Recipients, mail.Recipient{Address: a})
	}
	return e
}

func send(t *testing.T, s *Server, tr outbound.Transport, b mail.Body, to ...string) (outbound.Receipt, error) {
	t.Helper()
	r, err := tr.Send(t.Context(), envelope(s, to...), b)
	if err != nil {
		s.mustNotShow(t, fmt.Sprintf("%v %+v %#v", err, err, err))
	}
	return r, err
}

// mustSend sends to everyone.
func mustSend(t *testing.T, s *Server, tr outbound.Transport, b mail.Body, to ...string) {
	t.Helper()
	if r, err := send(t, s, tr, b, to...); err != nil || len(r.Refused) != 0 {
		t.Fatalf("send: %v, refused %v", err, r.Refused)
	}
}

// arrived compares what an address got.
func (s *Server) arrived(t *testing.T, address string, want ...mail.Bytes) {
	t.Helper()
	got := s.Taken(t, address)
	if len(got) != len(want) {
		t.Fatalf("%d messages arrived, want %d", len(got), len(want))
	}
	for i := range want {
		if !bytes.Equal(got[i], want[i]) {
			t.Errorf("message %d arrived with %d bytes, want %d, or altered: %.120q", i, len(got[i]), len(want[i]), got[i])
		}
	}
}

func accepted(t *testing.T, s *Server, tr outbound.Transport) {
	for i := range 3 {
		mustSend(t, s, tr, text(s, fmt.Sprint(i)), s.To...)
	}
	for _, to := range s.To {
		s.arrived(t, to, text(s, "0"), text(s, "1"), text(s, "2"))
	}
}

func bytesArrive(t *testing.T, s *Server, tr outbound.Transport) {
	head := "From: <" + s.From + ">\r\nSubject: x\r\n\r\n"
	var want []mail.Bytes
	for _, body := range []string{
		".\r\n", "..\r\n", ".a\r\n\r\n.\r\n..b\r\n", "\r\n.\r\n\r\n", strings.Repeat(".", 2000) + "\r\n",
		"caf\xe9 \x00 \x7f \xff\r\n", strings.Repeat("x", 70_000) + "\r\n", strings.Repeat("0123456789\r\n", 20_000), "",
		"QUIT\r\nDATA\r\n",
	} {
		want = append(want, mail.Bytes(head+body))
		e := envelope(s, s.To[0])
		e.EightBit = true
		if r, err := tr.Send(t.Context(), e, want[len(want)-1]); err != nil || len(r.Refused) > 0 {
			t.Fatalf("send %.40q: %v, refused %v", body, err, r.Refused)
		}
	}
	s.arrived(t, s.To[0], want...)
}

func oneRefused(t *testing.T, s *Server, tr outbound.Transport) {
	if s.AllOrNothing {
		_, err := send(t, s, tr, text(s, "x"), s.To[0], s.NoOne, s.To[1])
		nobodyGotIt(t, s, err)
		return
	}
	r, err := send(t, s, tr, text(s, "x"), s.To[0], s.NoOne, s.To[1])
	if err != nil || len(r.Refused) != 1 || r.Refused[0].Address != s.NoOne || fault.Of(r.Refused[0].Err) != fault.Permanent {
		t.Fatalf("%v, refused %v", err, r.Refused)
	}
	s.arrived(t, s.To[0], text(s, "x"))
	s.arrived(t, s.To[1], text(s, "x"))
}

func oneDeferred(t *testing.T, s *Server, tr outbound.Transport) {
	s.Cause(t, DeferOne)
	r, err := send(t, s, tr, text(s, "x"), s.To...)
	if err != nil || len(r.Refused) != 1 || r.Refused[0].Address != s.To[0] || fault.Of(r.Refused[0].Err) != fault.Temporary {
		t.Fatalf("%v, refused %v", err, r.Refused)
	}
	s.arrived(t, s.To[0])
	s.arrived(t, s.To[1], text(s, "x"))
	mustSend(t, s, tr, text(s, "x"), s.To[0])
	s.arrived(t, s.To[0], text(s, "x"))
}

// nobodyGotIt wants a message refused for good, and for all.
func nobodyGotIt(t *testing.T, s *Server, err error) {
	t.Helper()
	if err == nil || fault.Of(err) != fault.Permanent {
		t.Errorf("send: %v, kind %v", err, fault.Of(err))
	}
	for _, to := range s.To {
		s.arrived(t, to)
	}
}

func allRefused(t *testing.T, s *Server, tr outbound.Transport) {
	r, err := send(t, s, tr, text(s, "x"), s.NoOne)
	if s.AllOrNothing {
		nobodyGotIt(t, s, err)
		return
	}
	if err != nil || len(r.Refused) != 1 || fault.Of(r.Refused[0].Err) != fault.Permanent {
		t.Fatalf("%v, refused %v", err, r.Refused)
	}
}

func afterRefusal(t *testing.T, s *Server, tr outbound.Transport) {
	allRefused(t, s, tr)
	mustSend(t, s, tr, text(s, "next"), s.To[0])
	s.arrived(t, s.To[0], text(s, "next"))
}

// serverAway: the engine is told that every message would meet the same.
func serverAway(t *testing.T, s *Server, _ outbound.Transport) {
	tr := s.Away(t)
	_, err := tr.Send(t.Context(), envelope(s, s.To[0]), text(s, "x"))
	if !outbound.IsUnreachable(err) {
		t.Errorf("a server that is away: %v (%s)", err, fault.Of(err))
	}
	if err := tr.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func bcc(t *testing.T, s *Server, tr outbound.Transport) {
	m := mail.Bytes("From: <" + s.From + ">\r\nTo: <" + s.To[0] + ">\r\nSubject: x\r\n\r\nx\r\n")
	mustSend(t, s, tr, m, s.To...)
	s.arrived(t, s.To[1], m)
}

func sideBySide(t *testing.T, s *Server, tr outbound.Transport) {
	const n = 12
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if r, err := tr.Send(t.Context(), envelope(s, s.To[0]), text(s, fmt.Sprint(i))); err != nil || len(r.Refused) > 0 {
				t.Errorf("send: %v, refused %v", err, r.Refused)
			}
		})
	}
	wg.Wait()
	got := map[string]bool{}
	for _, b := range s.Taken(t, s.To[0]) {
		got[string(b)] = true
	}
	if len(got) != n {
		t.Errorf("%d messages arrived, want %d", len(got), n)
	}
}

// brokenBody breaks off in the middle, or cannot be opened at all.
type brokenBodyOf struct {
	mail.Bytes
	opens bool
}

var errBroken = errors.New("the disk is gone")

func (b brokenBodyOf) Open() (io.ReadCloser, error) {
	if !b.opens {
		return nil, errBroken
	}
	half := bytes.NewReader(b.Bytes[:len(b.Bytes)/2])
	return io.NopCloser(io.MultiReader(half, failing{})), nil
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errBroken }

func bodyBreaks(t *testing.T, s *Server, tr outbound.Transport) {
	if _, err := send(t, s, tr, brokenBodyOf{text(s, "x"), true}, s.To[0]); !errors.Is(err, errBroken) || fault.Of(err) == fault.InDoubt {
		t.Errorf("send: %v", err)
	}
	mustSend(t, s, tr, text(s, "whole"), s.To[0])
	s.arrived(t, s.To[0], text(s, "whole"))
}

func bodyMissing(t *testing.T, s *Server, tr outbound.Transport) {
	if _, err := send(t, s, tr, brokenBodyOf{text(s, "x"), false}, s.To[0]); !errors.Is(err, errBroken) {
		t.Errorf("send: %v", err)
	}
	mustSend(t, s, tr, text(s, "whole"), s.To[0])
	s.arrived(t, s.To[0], text(s, "whole"))
}

func cancelled(t *testing.T, s *Server, tr outbound.Transport) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tr.Send(ctx, envelope(s, s.To[0]), text(s, "x")); err == nil || fault.Of(err) == fault.InDoubt {
		t.Errorf("send: %v", err)
	}
	s.arrived(t, s.To[0])
}

// kind expects an error of this kind, and nothing sent.
func kind(what Trouble, want fault.Kind) func(*testing.T, *Server, outbound.Transport) {
	return func(t *testing.T, s *Server, tr outbound.Transport) {
		s.Cause(t, what)
		if _, err := send(t, s, tr, text(s, "x"), s.To[0]); err == nil || fault.Of(err) != want {
			t.Errorf("send: %v, kind %v, want %v", err, fault.Of(err), want)
		}
		s.arrived(t, s.To[0])
	}
}

// A server that had the message whole and never answered may have kept it: who sends does not know better.
func cutBefore(t *testing.T, s *Server, tr outbound.Transport) {
	s.Cause(t, CutBefore)
	if _, err := send(t, s, tr, text(s, "x"), s.To[0]); err == nil || fault.Of(err) == fault.Permanent {
		t.Errorf("send: %v", err)
	}
	s.arrived(t, s.To[0])
	mustSend(t, s, tr, text(s, "again"), s.To[0])
	s.arrived(t, s.To[0], text(s, "again"))
}

func cutAfter(t *testing.T, s *Server, tr outbound.Transport) {
	s.Cause(t, CutAfter)
	if _, err := send(t, s, tr, text(s, "x"), s.To[0]); fault.Of(err) != fault.InDoubt {
		t.Errorf("send: %v, kind %v", err, fault.Of(err))
	}
	s.arrived(t, s.To[0], text(s, "x"))
	mustSend(t, s, tr, text(s, "next"), s.To[0])
	s.arrived(t, s.To[0], text(s, "x"), text(s, "next"))
}

// cutAfterRefusal: who was refused before the link broke is named. A server that takes all or nothing says no first.
func cutAfterRefusal(t *testing.T, s *Server, tr outbound.Transport) {
	if s.AllOrNothing {
		return
	}
	s.Cause(t, CutAfter)
	r, err := send(t, s, tr, text(s, "x"), s.To[0], s.NoOne)
	if fault.Of(err) != fault.InDoubt || len(r.Refused) != 1 || r.Refused[0].Address != s.NoOne {
		t.Errorf("send: %v, kind %v, refused %v", err, fault.Of(err), r.Refused)
	}
	s.arrived(t, s.To[0], text(s, "x"))
}

func tokenReplaced(t *testing.T, s *Server, tr outbound.Transport) {
	s.Cause(t, RefuseToken)
	mustSend(t, s, tr, text(s, "x"), s.To[0])
	s.arrived(t, s.To[0], text(s, "x"))
}

func tokensExpire(t *testing.T, s *Server, tr outbound.Transport) {
	s.Cause(t, TokensExpireSoon)
	var want []mail.Bytes
	for i := range 3 {
		want = append(want, text(s, fmt.Sprint(i)))
		mustSend(t, s, tr, want[i], s.To[0])
	}
	s.arrived(t, s.To[0], want...)
}
