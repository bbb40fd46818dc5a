package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/smtp"
	"net/url"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/sandbox"
	"mailporter/sandbox/fault"
	"mailporter/sandbox/idp"
	"mailporter/workers/internal/program/programtest"
)

// password opens every mailbox.
const password = "pass-word-marker-7712"

// askable lets the worker look among the mailboxes' sent mail over IMAP. changes are made to the side that sends.
func (w *world) askable(t *testing.T, unknown tokenclient.OnUnknown, changes ...func(outbound *tokenclient.Settings)) {
	t.Helper()
	n, all := portOf(t, "imap://"+w.sandbox.IMAPAddr()), settings(t, w.sandbox)
	for i, out := range all {
		in := out
		in.Direction, in.Protocol, in.Outbound = tokenclient.Inbound, tokenclient.IMAP, tokenclient.OutboundSettings{}
		in.Endpoint.Port, in.Endpoint.Security = n, tokenclient.TLS
		all[i].Outbound.OnUnknown = unknown
		all[i].Outbound.SentItems = &tokenclient.SentItems{Protocol: tokenclient.IMAP, Endpoint: in.Endpoint, Margin: in.Margin}
		for _, change := range changes {
			change(&all[i])
		}
		all = append(all, in)
	}
	w.broker.SetMailboxes(all...)
}

// post hands in a message from the first mailbox to the inbox.
func (w *world) post(t *testing.T, header string) {
	t.Helper()
	m := fmt.Sprintf("From: <%s>\r\nTo: <%s>\r\n%s\r\nHello.\r\n", mailboxes[0], inbox, header)
	if err := smtp.SendMail(w.intake, nil, mailboxes[0], []string{inbox}, []byte(m)); err != nil {
		t.Fatal(err)
	}
}

// came counts what lies in the inbox.
func (w *world) came(t *testing.T) (n int) {
	t.Helper()
	for _, count := range w.arrived(t) {
		n += count
	}
	return n
}

// reason is why the one message in the outbox is still there, and its state.
func (w *world) reason(t *testing.T) (state, reason string) {
	t.Helper()
	var all []struct {
		Recipients []struct{ State, Reason string }
	}
	if err := json.Unmarshal([]byte(w.ask("/outbox")), &all); err != nil || len(all) != 1 {
		return "", ""
	}
	return all[0].Recipients[0].State, all[0].Recipients[0].Reason
}

func (w *world) emptyOutbox() bool { return strings.TrimSpace(w.ask("/outbox")) == "[]" }

// TestEveryWayToLook: whatever the mailbox is read by shows what was sent.
func TestEveryWayToLook(t *testing.T) {
	for protocol, c := range map[tokenclient.Protocol]struct {
		url      func(*sandbox.Sandbox) string
		audience string
		role     string
	}{
		tokenclient.Graph: {(*sandbox.Sandbox).GraphURL, idp.Graph, "Mail.ReadWrite"},
		tokenclient.EWS:   {(*sandbox.Sandbox).EWSURL, idp.Outlook365, "full_access_as_app"},
	} {
		t.Run(protocol.String(), func(t *testing.T) {
			w := newWorld(t)
			w.askable(t, tokenclient.HoldUnknown, func(s *tokenclient.Settings) {
				to := s.Outbound.SentItems
				to.Protocol, to.Endpoint.Mechanism, to.Endpoint.Impersonate = protocol, tokenclient.Bearer, protocol == tokenclient.EWS
				to.Endpoint.Port = portOf(t, c.url(w.sandbox))
			})
			w.broker.OnMint(func(a tokenclient.Ask) (string, time.Time, error) {
				if a.Direction == tokenclient.Outbound {
					return w.mint(a)
				}
				token, claims, err := w.sandbox.Issuer().Access(idp.Claims{Tenant: tenant, Client: "app", Audience: c.audience, Roles: []string{c.role}})
				return token, claims.Expires, err
			})
			w.sandbox.Faults().Add(fault.Rule{Target: fault.SMTP, Step: "accepted", Action: fault.LoseAnswer, Count: 1})
			stop := programtest.Start(t, worker.App(), w.dir, io.Discard)
			defer stop()
			programtest.WaitFor(t, "readiness", func() bool { return w.ask("/readyz") != "" })
			w.post(t, "Message-ID: <it's@contoso.example>\r\n")
			programtest.WaitFor(t, "the message", func() bool { return w.came(t) == 1 })
			programtest.WaitFor(t, "an empty outbox", w.emptyOutbox)
			if n := w.came(t); n != 1 {
				t.Errorf("it came %d times", n)
			}
		})
	}
}

func portOf(t *testing.T, address string) int {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(u.Port())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestLostAnswer: the server took the message and its answer was lost. The copy in Sent Items tells, so nobody gets it twice.
func TestLostAnswer(t *testing.T) {
	for _, unknown := range []tokenclient.OnUnknown{tokenclient.RetryUnknown, tokenclient.HoldUnknown} {
		t.Run(unknown.String(), func(t *testing.T) {
			w := newWorld(t)
			w.askable(t, unknown)
			w.sandbox.Faults().Add(fault.Rule{Target: fault.SMTP, Step: "accepted", Action: fault.LoseAnswer, Count: 1})
			stop := programtest.Start(t, worker.App(), w.dir, io.Discard)
			defer stop()
			programtest.WaitFor(t, "readiness", func() bool { return w.ask("/readyz") != "" })
			w.post(t, "Message-ID: <1@contoso.example>\r\n")
			programtest.WaitFor(t, "the message", func() bool { return w.came(t) == 1 })
			programtest.WaitFor(t, "an empty outbox", w.emptyOutbox)
			if n := w.came(t); n != 1 {
				t.Errorf("it came %d times", n)
			}
		})
	}
}

// TestPasswordOut: a password sends and a token reads, in one mailbox. The lost answer is looked up with the token.
func TestPasswordOut(t *testing.T) {
	w := newWorld(t)
	w.askable(t, tokenclient.HoldUnknown, func(s *tokenclient.Settings) { s.Endpoint.Mechanism = tokenclient.Basic })
	w.broker.OnMint(func(a tokenclient.Ask) (string, time.Time, error) {
		if a.Direction == tokenclient.Outbound {
			return password, time.Time{}, nil
		}
		return w.mint(a)
	})
	w.sandbox.Faults().Add(fault.Rule{Target: fault.SMTP, Step: "accepted", Action: fault.LoseAnswer, Count: 1})
	var log programtest.Log
	stop := programtest.Start(t, worker.App(), w.dir, &log)
	programtest.WaitFor(t, "readiness", func() bool { return w.ask("/readyz") != "" })
	w.post(t, "Message-ID: <1@contoso.example>\r\n")
	programtest.WaitFor(t, "the message", func() bool { return w.came(t) == 1 })
	programtest.WaitFor(t, "an empty outbox", w.emptyOutbox)
	stop()
	if n := w.came(t); n != 1 {
		t.Errorf("it came %d times", n)
	}
	for _, secret := range append([]string{password}, w.tokens...) {
		if strings.Contains(log.String(), secret) {
			t.Error("a credential is in the log")
		}
	}
}

// TestNobodyMayLook: the broker keeps the inbound side from the worker. The listing says so, and what to do.
func TestNobodyMayLook(t *testing.T) {
	w := newWorld(t)
	w.askable(t, tokenclient.HoldUnknown)
	w.broker.Fail(tokenclient.Ask{Mailbox: mailboxes[0], Direction: tokenclient.Inbound}, &tokenclient.Error{
		Code: "PERMISSION_DENIED", Class: tokenclient.WrongConfig, Reason: "POLICY_DENIED", Remedy: "add a rule to policy.yaml",
	})
	w.sandbox.Faults().Add(fault.Rule{Target: fault.SMTP, Step: "accepted", Action: fault.LoseAnswer, Count: 1})
	stop := programtest.Start(t, worker.App(), w.dir, io.Discard)
	defer stop()
	programtest.WaitFor(t, "readiness", func() bool { return w.ask("/readyz") != "" })
	w.post(t, "Message-ID: <1@contoso.example>\r\n")
	programtest.WaitFor(t, "the reason", func() bool {
		state, reason := w.reason(t)
		return state == "unknown" && strings.Contains(reason, "cannot look whether it was sent") && strings.Contains(reason, "add a rule to policy.yaml")
	})
	if n := w.came(t); n != 1 {
		t.Errorf("it came %d times", n)
	}
}

// TestKilledBeforeTheAnswer: the worker dies when the server has the message and has not said so yet.
func TestKilledBeforeTheAnswer(t *testing.T) {
	w := newWorld(t)
	w.askable(t, tokenclient.RetryUnknown)
	w.sandbox.Faults().Add(fault.Rule{Target: fault.SMTP, Step: "accepted", Action: fault.Stall, Count: 1})
	first := w.spawn(t)
	w.post(t, "Message-ID: <1@contoso.example>\r\n")
	programtest.WaitFor(t, "the message", func() bool { return w.came(t) == 1 })
	if err := first.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = first.Wait() // killed, as said
	second := w.spawn(t)
	programtest.WaitFor(t, "an empty outbox", w.emptyOutbox)
	if n := w.came(t); n != 1 {
		t.Errorf("it came %d times", n)
	}
	if err := second.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := second.Wait(); err != nil {
		t.Errorf("the worker ended: %v", err)
	}
}

// TestUnnamed: a message without Message-ID cannot be looked for, and waits for an operator who is told why.
func TestUnnamed(t *testing.T) {
	w := newWorld(t)
	w.askable(t, tokenclient.HoldUnknown)
	w.sandbox.Faults().Add(fault.Rule{Target: fault.SMTP, Step: "accepted", Action: fault.LoseAnswer, Count: 1})
	stop := programtest.Start(t, worker.App(), w.dir, io.Discard)
	defer stop()
	programtest.WaitFor(t, "readiness", func() bool { return w.ask("/readyz") != "" })
	w.post(t, "Subject: x\r\n")
	programtest.WaitFor(t, "the reason", func() bool {
		state, reason := w.reason(t)
		return state == "unknown" && strings.Contains(reason, "no Message-ID") && strings.Contains(reason, "on-unknown is hold")
	})
}
