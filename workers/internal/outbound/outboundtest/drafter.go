package outboundtest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
)

// Step is one of the two in which a Drafter sends.
type Step int

// The two steps.
const (
	Drafting Step = iota + 1
	Sending
)

// Mishap is what happens to a step, once.
type Mishap int

// What can happen.
const (
	RequestLost Mishap = iota + 1 // the link breaks before the server acts
	AnswerLost                    // the link breaks when the server has acted, before it says so
	ForGood                       // the server refuses, and always will
)

// DraftServer is the far side of a Drafter.
type DraftServer struct {
	*Server
	// Address is where the server listens, host:port. The host must be of no account: see Through.
	Address string
	// Through makes a Drafter that reaches the server at another address, and closes it when the test ends.
	Through func(t *testing.T, address string) outbound.Drafter
	// Spoil makes the next request of a step go wrong.
	Spoil func(t *testing.T, s Step, m Mishap)
	// Drafts counts what lies among the drafts; Discard removes it.
	Drafts  func(t *testing.T) int
	Discard func(t *testing.T)
}

// Drafter tests an implementation; fresh starts a server for each case. Transport is to be passed as well.
func Drafter(t *testing.T, fresh func(t *testing.T) *DraftServer) {
	t.Helper()
	for _, c := range []struct {
		name string
		run  func(*testing.T, *DraftServer, outbound.Drafter)
	}{
		{"a draft waits", draftWaits},
		{"a draft that was sent is gone", draftGoes},
		{"bytes arrive as they are", draftBytes},
		{"drafts are told apart", draftsApart},
		{"the answer to a draft is lost", draftAnswerLost},
		{"a draft never reaches the server", draftRequestLost},
		{"a draft is refused for good", draftRefused},
		{"the answer to sending is lost", sendAnswerLost},
		{"a draft whose answer was lost is found", draftFound},
		{"sending never reaches the server", sendRequestLost},
		{"sending is refused for good", sendRefused},
		{"somebody removed the draft", draftRemoved},
		{"a draft of nobody", draftOfNobody},
		{"a cancelled context", draftCancelled},
		{"sent once wherever the link is cut", cutEverywhere},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := fresh(t)
			c.run(t, s, s.Through(t, s.Address))
			s.mustNotShow(t, s.wire())
		})
	}
}

// draft drafts a message to one address.
func (s *DraftServer) draft(t *testing.T, d outbound.Drafter, subject string) string {
	t.Helper()
	id, err := d.Draft(t.Context(), envelope(s.Server, s.To[0]), text(s.Server, subject))
	if err != nil || id == "" {
		t.Fatalf("draft %q: %v", id, err)
	}
	return id
}

func (s *DraftServer) send(t *testing.T, d outbound.Drafter, draft string) {
	t.Helper()
	if err := d.SendDraft(t.Context(), draft); err != nil {
		t.Fatalf("send: %v", err)
	}
}

// mustFail wants an error of one of these kinds that shows no secret.
func (s *DraftServer) mustFail(t *testing.T, what string, err error, kinds ...fault.Kind) {
	t.Helper()
	if err == nil {
		t.Fatalf("%s: no error", what)
	}
	s.mustNotShow(t, fmt.Sprintf("%v %+v %#v", err, err, err))
	for _, k := range kinds {
		if fault.Of(err) == k {
			return
		}
	}
	t.Errorf("%s: %v of kind %v, want one of %v", what, err, fault.Of(err), kinds)
}

func mustLook(t *testing.T, d outbound.Drafter, draft string, want outbound.Fate) {
	t.Helper()
	if got, err := d.Look(t.Context(), draft); err != nil || got != want {
		t.Errorf("the draft's fate is %d, %v; want %d", got, err, want)
	}
}

func (s *DraftServer) mustHold(t *testing.T, drafts int) {
	t.Helper()
	if got := s.Drafts(t); got != drafts {
		t.Errorf("%d drafts in the mailbox, want %d", got, drafts)
	}
}

func draftWaits(t *testing.T, s *DraftServer, d outbound.Drafter) {
	id := s.draft(t, d, "x")
	mustLook(t, d, id, outbound.Waiting)
	mustLook(t, s.Through(t, s.Address), id, outbound.Waiting) // another process
	s.mustHold(t, 1)
	s.arrived(t, s.To[0])
}

func draftGoes(t *testing.T, s *DraftServer, d outbound.Drafter) {
	id := s.draft(t, d, "x")
	s.send(t, s.Through(t, s.Address), id)
	mustLook(t, d, id, outbound.Gone)
	s.mustHold(t, 0)
	s.arrived(t, s.To[0], text(s.Server, "x"))
}

func draftBytes(t *testing.T, s *DraftServer, d outbound.Drafter) {
	b := text(s.Server, "x")
	b = append(b, ".\r\n..\r\ncaf\xe9 \x00\r\n"...)
	id, err := d.Draft(t.Context(), envelope(s.Server, s.To...), b)
	if err != nil {
		t.Fatal(err)
	}
	s.send(t, d, id)
	for _, to := range s.To {
		s.arrived(t, to, b)
	}
}

func draftsApart(t *testing.T, s *DraftServer, d outbound.Drafter) {
	first, second := s.draft(t, d, "same"), s.draft(t, d, "same")
	if first == second {
		t.Fatal("two drafts have one name")
	}
	s.send(t, d, first)
	mustLook(t, d, first, outbound.Gone)
	mustLook(t, d, second, outbound.Waiting)
	s.arrived(t, s.To[0], text(s.Server, "same"))
}

// notDrafted: what went wrong with a draft sends nothing, and the next one goes through.
func notDrafted(t *testing.T, s *DraftServer, d outbound.Drafter, m Mishap, want fault.Kind) {
	s.Spoil(t, Drafting, m)
	_, err := d.Draft(t.Context(), envelope(s.Server, s.To[0]), text(s.Server, "x"))
	s.mustFail(t, "draft", err, want)
	s.arrived(t, s.To[0])
	s.send(t, d, s.draft(t, d, "next"))
	s.arrived(t, s.To[0], text(s.Server, "next"))
}

// draftAnswerLost: a Drafter that can find a draft of which no answer told may go on with it.
func draftAnswerLost(t *testing.T, s *DraftServer, d outbound.Drafter) {
	s.Spoil(t, Drafting, AnswerLost)
	id, err := d.Draft(t.Context(), envelope(s.Server, s.To[0]), text(s.Server, "x"))
	if err != nil {
		s.mustFail(t, "draft", err, fault.Temporary)
		id = s.draft(t, d, "x")
	}
	s.arrived(t, s.To[0])
	s.send(t, d, id)
	s.arrived(t, s.To[0], text(s.Server, "x"))
}

// draftFound: of a draft whose answer was lost nobody knows the name, but it is found, and sent once.
func draftFound(t *testing.T, s *DraftServer, d outbound.Drafter) {
	f, ok := d.(outbound.DraftFinder)
	if !ok {
		return // it finds its own while it drafts: see draftAnswerLost
	}
	began := time.Now()
	e, b := envelope(s.Server, s.To[0]), mail.Bytes("Message-ID: <lost@test.example>\r\nFrom: <"+s.From+">\r\nTo: <"+s.To[0]+">\r\nSubject: x\r\n\r\nx\r\n")
	find := func(want bool) string {
		t.Helper()
		id, err := f.FindDraft(t.Context(), e, b, began)
		if err != nil || (id != "") != want {
			t.Fatalf("found %q, %v", id, err)
		}
		return id
	}
	find(false)
	s.Spoil(t, Drafting, AnswerLost)
	_, err := d.Draft(t.Context(), e, b)
	s.mustFail(t, "draft", err, fault.Temporary)
	s.mustHold(t, 1)
	id := find(true)
	s.send(t, d, id)
	s.mustHold(t, 0)
	s.arrived(t, s.To[0], b)
	find(false) // it is no draft any more
}

func draftRequestLost(t *testing.T, s *DraftServer, d outbound.Drafter) {
	notDrafted(t, s, d, RequestLost, fault.Temporary)
	s.mustHold(t, 0)
}

func draftRefused(t *testing.T, s *DraftServer, d outbound.Drafter) {
	notDrafted(t, s, d, ForGood, fault.Permanent)
	s.mustHold(t, 0)
}

func sendAnswerLost(t *testing.T, s *DraftServer, d outbound.Drafter) {
	id := s.draft(t, d, "x")
	s.Spoil(t, Sending, AnswerLost)
	s.mustFail(t, "send", d.SendDraft(t.Context(), id), fault.InDoubt)
	mustLook(t, d, id, outbound.Gone)
	s.arrived(t, s.To[0], text(s.Server, "x"))
}

func sendRequestLost(t *testing.T, s *DraftServer, d outbound.Drafter) {
	id := s.draft(t, d, "x")
	s.Spoil(t, Sending, RequestLost)
	// The server read all of it: who sends cannot know that it did not act.
	s.mustFail(t, "send", d.SendDraft(t.Context(), id), fault.InDoubt)
	mustLook(t, d, id, outbound.Waiting)
	s.arrived(t, s.To[0])
	s.send(t, d, id)
	s.arrived(t, s.To[0], text(s.Server, "x"))
}

func sendRefused(t *testing.T, s *DraftServer, d outbound.Drafter) {
	id := s.draft(t, d, "x")
	s.Spoil(t, Sending, ForGood)
	s.mustFail(t, "send", d.SendDraft(t.Context(), id), fault.Permanent)
	s.mustHold(t, 0)
	mustLook(t, d, id, outbound.Vanished)
	s.arrived(t, s.To[0])
}

func draftRemoved(t *testing.T, s *DraftServer, d outbound.Drafter) {
	id := s.draft(t, d, "x")
	s.Discard(t)
	mustLook(t, d, id, outbound.Vanished)
	if err := d.SendDraft(t.Context(), id); err == nil {
		t.Error("what is not there was sent")
	} else {
		s.mustFail(t, "send", err, fault.Temporary, fault.Gone, fault.InDoubt)
	}
	s.arrived(t, s.To[0])
}

// draftOfNobody: what another version of the program, or another provider, remembered.
func draftOfNobody(t *testing.T, _ *DraftServer, d outbound.Drafter) {
	for _, id := range []string{"", "x", "\x00/../?#", "AAMkAGI2"} {
		if fate, err := d.Look(t.Context(), id); err == nil && fate != outbound.Vanished {
			t.Errorf("%q: fate %d", id, fate)
		}
		if err := d.SendDraft(t.Context(), id); err == nil {
			t.Errorf("%q was sent", id)
		}
	}
}

func draftCancelled(t *testing.T, s *DraftServer, d outbound.Drafter) {
	id := s.draft(t, d, "x")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := d.Draft(ctx, envelope(s.Server, s.To[0]), text(s.Server, "y"))
	s.mustFail(t, "draft", err, fault.Temporary)
	s.mustFail(t, "send", d.SendDraft(ctx, id), fault.Temporary, fault.InDoubt)
	if _, err := d.Look(ctx, id); err == nil {
		t.Error("looked in spite of it")
	}
	mustLook(t, d, id, outbound.Waiting)
	s.mustHold(t, 1)
	s.arrived(t, s.To[0])
}

// stride is how far apart the cuts are, in bytes: a prime, lest they always meet the same place of a record.
const stride = 61

// cutEverywhere cuts the link after every stride-th byte of either direction and goes on as an Outbox makes one go on:
// each message arrives once.
func cutEverywhere(t *testing.T, s *DraftServer, sound outbound.Drafter) {
	r := newRelay(t, s.Address)
	s.once(t, s.Through(t, r.address), sound, "whole")
	up, down := r.carried()
	sent := 1
	cut := func(direction string, at, up, down int) {
		r := newRelay(t, s.Address)
		r.limit(up, down)
		s.once(t, s.Through(t, r.address), sound, fmt.Sprint(direction, " ", at))
		if sent++; len(s.Taken(t, s.To[0])) != sent {
			t.Fatalf("cut %s after %d bytes: %d messages arrived, want %d", direction, at, len(s.Taken(t, s.To[0])), sent)
		}
	}
	for n := 0; n < up; n += stride {
		cut("up", n, n, down)
	}
	for n := 0; n < down; n += stride {
		cut("down", n, 1<<30, n)
	}
	t.Logf("%d cuts", sent-1)
}

// once sends a message over a link that breaks; what is left to do is done over a sound one.
func (s *DraftServer) once(t *testing.T, frail, sound outbound.Drafter, subject string) {
	t.Helper()
	id, err := frail.Draft(t.Context(), envelope(s.Server, s.To[0]), text(s.Server, subject))
	if err != nil {
		s.mustFail(t, "draft", err, fault.Temporary)
		s.send(t, sound, s.draft(t, sound, subject))
		return
	}
	if err := frail.SendDraft(t.Context(), id); err == nil {
		return
	} else if fault.Of(err) != fault.InDoubt {
		mustLook(t, sound, id, outbound.Waiting) // a kind that says not sent is true
	}
	fate, err := sound.Look(t.Context(), id)
	if err != nil || fate == outbound.Vanished {
		t.Fatalf("the draft's fate is %d, %v", fate, err)
	}
	if fate == outbound.Waiting {
		s.send(t, sound, id)
	}
}
