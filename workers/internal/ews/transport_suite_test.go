package ews_test

import (
	"net"
	"strconv"
	"testing"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/sandbox/fault"
	"mailporter/sandbox/idp"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/outbound/outboundtest"
	"mailporter/workers/internal/providertest"
)

// cause turns the suite's troubles into rules of the sandbox.
func (w *world) cause(_ *testing.T, what outboundtest.Trouble) {
	rule := fault.Rule{Step: "send", Count: 1, Action: fault.Reply}
	switch what {
	case outboundtest.TryLater:
		rule.Text = "ErrorMailboxStoreUnavailable"
		rule.Step = "create"
	case outboundtest.Throttle:
		rule.Text, rule.RetryAfter = "ErrorServerBusy", 5*time.Minute
	case outboundtest.Refuse:
		rule.Text = "ErrorInvalidRecipients"
	case outboundtest.CutBefore:
		rule.Action = fault.Reset
	case outboundtest.CutAfter:
		rule.Action = fault.LoseAnswer
	case outboundtest.RefuseToken:
		rule.Step, rule.Action = "", fault.RefuseToken
	case outboundtest.RefuseTokens:
		rule.Step, rule.Action, rule.Count = "", fault.RefuseToken, 0
	case outboundtest.TokensExpireSoon:
		w.Live(time.Second + 300*time.Millisecond) // less than a moment beyond the margin
		return
	}
	w.Fault(rule)
}

// far is the server that the suite sends to. A password is not replaced when it is refused.
func (w *world) far(settings func(*testing.T) tokenclient.Settings, tokens bool) *outboundtest.Server {
	troubles := []outboundtest.Trouble{
		outboundtest.TryLater, outboundtest.Throttle, outboundtest.Refuse, outboundtest.CutBefore, outboundtest.CutAfter, outboundtest.RefuseTokens,
	}
	if tokens {
		troubles = append(troubles, outboundtest.RefuseToken, outboundtest.TokensExpireSoon)
	}
	return &outboundtest.Server{
		From: w.Mailbox, To: []string{sales, office}, NoOne: "nobody", AllOrNothing: true,
		Troubles: troubles, Cause: w.cause, Taken: w.Inbox, Secrets: w.Secrets,
		Open: func(t *testing.T) outbound.Transport { return w.transport(t, settings(t)) },
		Away: func(t *testing.T) outbound.Transport {
			s := settings(t)
			s.Endpoint.Port = 1
			return w.transport(t, s)
		},
	}
}

// TestTransport runs the suite as an application, as a user who sends from a shared mailbox, and with a password.
func TestTransport(t *testing.T) {
	t.Run("application", func(t *testing.T) {
		outboundtest.Transport(t, func(t *testing.T) *outboundtest.Server {
			w := newOffice(t)
			return w.far(w.outgoing, true)
		})
	})
	t.Run("shared mailbox", func(t *testing.T) {
		outboundtest.Transport(t, func(t *testing.T) *outboundtest.Server {
			w := newOffice(t, shareMailbox)
			w.mintFor(idp.Claims{Client: "app", User: support, Scopes: []string{"EWS.AccessAsUser.All"}})
			w.Mailbox = shared
			return w.far(func(t *testing.T) tokenclient.Settings { return w.as(t, support) }, true)
		})
	})
	t.Run("password", func(t *testing.T) {
		outboundtest.Transport(t, func(t *testing.T) *outboundtest.Server {
			w := newOffice(t)
			w.Broker.OnMint(func(tokenclient.Ask) (string, time.Time, error) { return providertest.Password, time.Time{}, nil })
			return w.far(w.withPassword, false)
		})
	})
}

func TestDrafter(t *testing.T) {
	outboundtest.Drafter(t, func(t *testing.T) *outboundtest.DraftServer { return newOffice(t).farDrafts(t) })
}

func (w *world) farDrafts(t *testing.T) *outboundtest.DraftServer {
	settings := w.outgoing(t)
	return &outboundtest.DraftServer{
		Server:  w.far(w.outgoing, true),
		Address: net.JoinHostPort("localhost", strconv.Itoa(settings.Endpoint.Port)),
		Through: func(t *testing.T, address string) outbound.Drafter {
			s := settings
			s.Endpoint.Port = portOf(t, address)
			return w.transport(t, s)
		},
		Spoil:  w.spoil,
		Drafts: func(t *testing.T) int { return len(w.Holds(t, "Drafts")) },
		Discard: func(t *testing.T) {
			for _, raw := range w.Holds(t, "Drafts") {
				w.Remove(t, "Drafts", raw)
			}
		},
	}
}

func (w *world) spoil(_ *testing.T, s outboundtest.Step, m outboundtest.Mishap) {
	rule := fault.Rule{Step: map[outboundtest.Step]string{outboundtest.Drafting: "create", outboundtest.Sending: "send"}[s], Count: 1}
	switch m {
	case outboundtest.RequestLost:
		rule.Action = fault.Reset
	case outboundtest.AnswerLost:
		rule.Action = fault.LoseAnswer
	case outboundtest.ForGood:
		rule.Action, rule.Text = fault.Reply, "ErrorMimeContentInvalid"
	}
	w.Fault(rule)
}
