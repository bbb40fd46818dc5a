package ews_test

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/sandbox"
	sandboxfault "mailporter/sandbox/fault"
	"mailporter/sandbox/idp"
	"mailporter/sandbox/mailstore"
	"mailporter/workers/internal/ews"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/providertest"
)

const (
	sales  = "sales@contoso.example"
	office = "office@contoso.example"
	shared = "shared@contoso.example"
)

// newOffice is a world with mailboxes that write to each other.
func newOffice(t *testing.T, changes ...func(*sandbox.Config)) *world {
	t.Helper()
	return newWorldWith(t, func(c *sandbox.Config) {
		c.Tenants[0].Users = append(c.Tenants[0].Users, sandbox.User{Address: sales}, sandbox.User{Address: office})
		for _, change := range changes {
			change(c)
		}
	})
}

// outgoing are the settings of the mailbox that sends.
func (w *world) outgoing(t *testing.T) tokenclient.Settings {
	t.Helper()
	s := w.settings(t)
	s.Direction, s.Inbound = tokenclient.Outbound, tokenclient.InboundSettings{}
	s.Outbound = tokenclient.OutboundSettings{PoolSize: 3}
	return s
}

// shareMailbox opens a shared mailbox to the user of support, and its name.
func shareMailbox(c *sandbox.Config) {
	users := c.Tenants[0].Users
	users[0].FullAccess, users[0].SendAs = []string{shared}, []string{shared}
	c.Tenants[0].Users = append(users, sandbox.User{Address: shared})
}

// as are the settings of the mailbox for a user's token.
func (w *world) as(t *testing.T, user string) tokenclient.Settings {
	t.Helper()
	s := w.outgoing(t)
	s.Endpoint.Impersonate, s.Endpoint.User = false, user
	return s
}

// withPassword are the settings for a server on premises.
func (w *world) withPassword(t *testing.T) tokenclient.Settings {
	t.Helper()
	s := w.as(t, w.Mailbox)
	s.Endpoint.Mechanism = tokenclient.Basic
	return s
}

// mintFor lets the broker's tokens say these things.
func (w *world) mintFor(c idp.Claims) {
	c.Tenant, c.Audience = tenant, idp.Outlook365
	w.Broker.OnMint(func(tokenclient.Ask) (string, time.Time, error) { return w.MintFor(c) })
}

// transport makes a Transport with these settings, known to the broker.
func (w *world) transport(t *testing.T, s tokenclient.Settings) *ews.Transport {
	t.Helper()
	c := ews.TransportConfig{Roots: w.Sandbox.CertPool()}
	return providertest.Open(t, w.World, s, func() (*ews.Transport, error) { return ews.NewTransport(c, s, w.Client) })
}

// regexpBcc is a Bcc field with its line.
var regexpBcc = regexp.MustCompile(`(?m)^Bcc:.*\r\n`)

// note is a message from support.
func note(header string) mail.Bytes {
	return mail.Bytes("From: <" + support + ">\r\n" + header + "Subject: a note\r\n\r\nHello.\r\n")
}

func to(addresses ...string) mail.Envelope {
	e := mail.Envelope{From: support}
	for _, a := range addresses {
		e.Recipients = append(e.Recipients, mail.Recipient{Address: a})
	}
	return e
}

// drafted makes a draft to sales.
func drafted(t *testing.T, tr *ews.Transport) string {
	t.Helper()
	name, err := tr.Draft(t.Context(), to(sales), note(""))
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func look(t *testing.T, tr *ews.Transport, name string, want outbound.Fate) {
	t.Helper()
	if fate, err := tr.Look(t.Context(), name); err != nil || fate != want {
		t.Errorf("look: %v, %v, want %v", fate, err, want)
	}
}

// stand compares how many messages are in the drafts and in the sent items, and how many arrived at sales.
func (w *world) stand(t *testing.T, drafts, sent, arrived int) {
	t.Helper()
	got := []int{len(w.Holds(t, "Drafts")), len(w.Holds(t, "Sent Items")), len(w.Inbox(t, sales))}
	if want := []int{drafts, sent, arrived}; !slices.Equal(got, want) {
		t.Errorf("drafts, sent items and arrived are %v, want %v", got, want)
	}
}

// TestWhoGetsIt: the envelope decides, and nobody sees more than the header shows.
func TestWhoGetsIt(t *testing.T) {
	for name, tc := range map[string]struct {
		header string
		to     []string
		wrong  string // part of the refusal; empty = sent
	}{
		"all named":            {"To: <" + sales + ">\r\nCc: <" + office + ">\r\n", []string{sales, office}, ""},
		"all unseen":           {"", []string{sales, office}, ""},
		"one unseen":           {"To: <" + sales + ">\r\n", []string{sales, office}, ""},
		"one in Bcc":           {"To: <" + sales + ">\r\nBcc: <" + office + ">\r\n", []string{sales, office}, ""},
		"one in Bcc, one not":  {"Bcc: <" + office + ">\r\n", []string{sales, office}, ""},
		"someone abroad":       {"To: <far@away.example>\r\n", []string{"far@away.example"}, ""},
		"a stranger in To":     {"To: <" + sales + ">, <" + office + ">\r\n", []string{sales}, "To names " + office},
		"a stranger in Bcc":    {"Bcc: <" + office + ">\r\n", []string{sales}, "Bcc names " + office},
		"who cannot be read":   {"Cc: somebody\r\n", []string{sales}, "Cc cannot be read"},
		"an odd name in quote": {"To: \"a, <b@c.example>\" <" + sales + ">\r\n", []string{sales}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newOffice(t)
			tr := w.transport(t, w.outgoing(t))
			_, err := tr.Send(t.Context(), to(tc.to...), note(tc.header))
			if tc.wrong != "" {
				var e *fault.Error
				if fault.Of(err) != fault.Permanent || !errors.As(err, &e) || e.Reason != "HEADER_RECIPIENTS" || !strings.Contains(err.Error(), tc.wrong) {
					t.Errorf("%v, want %q", err, tc.wrong)
				}
				if n := w.Sandbox.Stats().EWS.Requests; n != 0 {
					t.Errorf("%d requests were made", n)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			w.gotIt(t, tc.to, note(tc.header))
		})
	}
}

// gotIt checks that each of the addresses has the message, without Bcc, and nobody else any.
func (w *world) gotIt(t *testing.T, all []string, sent []byte) {
	t.Helper()
	seen := regexpBcc.ReplaceAll(sent, nil)
	for _, a := range []string{sales, office} {
		got, n := w.Inbox(t, a), 0
		if slices.Contains(all, a) {
			n = 1
		}
		if len(got) != n || n == 1 && !bytes.Equal(got[0], seen) {
			t.Errorf("%s has %q", a, got)
		}
	}
	for _, out := range w.Sandbox.Outbound() {
		if !slices.Equal(out.To, all) {
			t.Errorf("sent to %q", out.To)
		}
	}
	if kept := w.Holds(t, "Sent Items"); len(kept) != 1 || !bytes.Equal(kept[0], sent) {
		t.Errorf("sent items: %q", kept)
	}
}

// TestADraftThatMoved: what somebody does to a draft meanwhile neither loses nor doubles it.
func TestADraftThatMoved(t *testing.T) {
	for name, tc := range map[string]struct {
		meanwhile func(*testing.T, *world, *ews.Transport, string)
		kind      fault.Kind // of SendDraft's error
		fate      outbound.Fate
		arrived   int
	}{
		"read and flagged": {func(t *testing.T, w *world, _ *ews.Transport, _ string) {
			w.change(t, func(s *mailstore.Store, uid uint32) error {
				return s.SetFlags(support, "Drafts", []uint32{uid}, mailstore.FlagsAdd, []string{`\Flagged`})
			})
		}, noError, outbound.Gone, 1},
		"sent": {func(t *testing.T, _ *world, tr *ews.Transport, name string) {
			if err := tr.SendDraft(t.Context(), name); err != nil {
				t.Fatal(err)
			}
		}, noError, outbound.Gone, 1},
		"moved away": {func(t *testing.T, w *world, _ *ews.Transport, _ string) {
			w.change(t, func(s *mailstore.Store, uid uint32) error {
				_, err := s.Move(support, "Drafts", []uint32{uid}, "Archive")
				return err
			})
		}, fault.InDoubt, outbound.Vanished, 0},
		"moved there and back": {func(t *testing.T, w *world, _ *ews.Transport, _ string) {
			w.change(t, func(s *mailstore.Store, uid uint32) error {
				moved, err := s.Move(support, "Drafts", []uint32{uid}, "Archive")
				if err == nil {
					_, err = s.Move(support, "Archive", moved.To, "Drafts")
				}
				return err
			})
		}, noError, outbound.Gone, 1},
		"removed": {func(t *testing.T, w *world, _ *ews.Transport, _ string) {
			w.Remove(t, "Drafts", note(""))
		}, fault.InDoubt, outbound.Vanished, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newOffice(t)
			tr := w.transport(t, w.outgoing(t))
			draft := drafted(t, tr)
			look(t, tr, draft, outbound.Waiting)
			tc.meanwhile(t, w, tr, draft)
			if err := tr.SendDraft(t.Context(), draft); (err != nil) != (tc.kind != noError) || err != nil && fault.Of(err) != tc.kind {
				t.Errorf("send: %v (%s)", err, fault.Of(err))
			}
			look(t, tr, draft, tc.fate)
			if n := len(w.Inbox(t, sales)); n != tc.arrived {
				t.Errorf("%d arrived, want %d", n, tc.arrived)
			}
		})
	}
}

// noError stands for success among kinds.
const noError fault.Kind = -1

// change does something to the only draft.
func (w *world) change(t *testing.T, do func(*mailstore.Store, uint32) error) {
	t.Helper()
	f := w.Folder(t, "Drafts")
	if len(f.Messages) != 1 {
		t.Fatalf("%d drafts", len(f.Messages))
	}
	if err := do(w.Sandbox.Store(), f.Messages[0].UID); err != nil {
		t.Fatal(err)
	}
}

// TestLostAnswers: whatever answer is lost, one can find out what became of the message.
func TestLostAnswers(t *testing.T) {
	w := newOffice(t)
	tr := w.transport(t, w.outgoing(t))
	w.Fault(sandboxfault.Rule{Step: "create", Action: sandboxfault.LoseAnswer, Count: 1})
	draft := drafted(t, tr) // the draft is there, and found
	w.stand(t, 1, 0, 0)
	w.Fault(sandboxfault.Rule{Step: "send", Action: sandboxfault.Reset, Count: 1})
	if err := tr.SendDraft(t.Context(), draft); fault.Of(err) != fault.InDoubt {
		t.Errorf("cut before it was sent: %v", err)
	}
	look(t, tr, draft, outbound.Waiting)
	w.Fault(sandboxfault.Rule{Step: "send", Action: sandboxfault.LoseAnswer, Count: 1})
	if err := tr.SendDraft(t.Context(), draft); fault.Of(err) != fault.InDoubt {
		t.Errorf("cut after it was sent: %v", err)
	}
	look(t, tr, draft, outbound.Gone)
	w.stand(t, 0, 1, 1)
	w.Fault(sandboxfault.Rule{Step: "create", Action: sandboxfault.Reset, Count: 1})
	if _, err := tr.Draft(t.Context(), to(sales), note("")); err == nil || fault.Of(err) != fault.Temporary {
		t.Errorf("a draft that was never made: %v", err)
	}
	w.stand(t, 0, 1, 1)
}

// TestNoConnection: what was never handed over is not in doubt.
func TestNoConnection(t *testing.T) {
	w := newOffice(t)
	tr := w.transport(t, w.outgoing(t))
	draft := drafted(t, tr)
	s := w.outgoing(t)
	s.Endpoint.Port = 1
	if err := w.transport(t, s).SendDraft(t.Context(), draft); err == nil || fault.Of(err) != fault.Temporary {
		t.Errorf("%v (%s)", err, fault.Of(err))
	}
	look(t, tr, draft, outbound.Waiting)
}

// TestSendingAnswers: what the server says becomes a kind, a reason and what to do; drafts that will never be sent are removed.
func TestSendingAnswers(t *testing.T) {
	for name, tc := range map[string]struct {
		step   string
		rule   sandboxfault.Rule
		kind   fault.Kind
		after  time.Duration
		remedy string
		drafts int // left behind by SendDraft
	}{
		"busy":              {"send", sandboxfault.Rule{Text: "ErrorServerBusy", RetryAfter: 297 * time.Second}, fault.Throttled, 297 * time.Second, "", 1},
		"busy at the draft": {"create", sandboxfault.Rule{Text: "ErrorServerBusy"}, fault.Throttled, 30 * time.Second, "", 0},
		"daily limit":       {"send", sandboxfault.Rule{Text: "ErrorSubmissionQuotaExceeded"}, fault.Throttled, time.Hour, "24 hour", 1},
		"message limit":     {"send", sandboxfault.Rule{Text: "ErrorExceededMessageLimit"}, fault.Throttled, time.Hour, "24 hour", 1},
		"send as":           {"send", sandboxfault.Rule{Text: "ErrorSendAsDenied"}, fault.Permanent, 0, "SendAs", 0},
		"recipients":        {"send", sandboxfault.Rule{Text: "ErrorInvalidRecipients"}, fault.Permanent, 0, "addresses", 0},
		"too large":         {"create", sandboxfault.Rule{Text: "ErrorMessageSizeExceeded"}, fault.Permanent, 0, "MaxSendSize", 0},
		"far too large":     {"create", sandboxfault.Rule{Status: 413}, fault.Permanent, 0, "web.config", 0},
		"not MIME":          {"create", sandboxfault.Rule{Text: "ErrorMimeContentConversionFailed"}, fault.Permanent, 0, "mend", 0},
		"a virus":           {"send", sandboxfault.Rule{Text: "ErrorVirusDetected"}, fault.Permanent, 0, "infected", 0},
		"blocked":           {"send", sandboxfault.Rule{Text: "ErrorMessageSubmissionBlocked"}, fault.Auth, 0, "unblock", 1},
		"suspended":         {"send", sandboxfault.Rule{Text: "ErrorAccountSuspend"}, fault.Auth, 0, "unblock", 1},
		"full":              {"create", sandboxfault.Rule{Text: "ErrorQuotaExceeded"}, fault.Auth, 0, "room", 0},
		"denied":            {"create", sandboxfault.Rule{Text: "ErrorCreateItemAccessDenied"}, fault.Auth, 0, "full_access_as_app", 0},
		"no licence":        {"create", sandboxfault.Rule{Text: "ErrorInvalidLicense"}, fault.Auth, 0, "administrator", 0},
		"retired":           {"create", sandboxfault.Rule{Status: 403}, fault.Auth, 0, "GRAPH", 0},
		"store away":        {"create", sandboxfault.Rule{Text: "ErrorMailboxStoreUnavailable"}, fault.Temporary, 0, "", 0},
		"breakdown":         {"send", sandboxfault.Rule{Text: "ErrorInternalServerError"}, fault.InDoubt, 0, "", 1},
		"a gateway's word":  {"send", sandboxfault.Rule{Status: 504, Body: "<html>"}, fault.InDoubt, 0, "", 1},
		"queueing":          {"send", sandboxfault.Rule{Status: 503, RetryAfter: 5 * time.Second}, fault.Throttled, 5 * time.Second, "", 1},
		"no XML":            {"send", sandboxfault.Rule{Status: 200, Body: "MARKER"}, fault.InDoubt, 0, "", 1},
		"of tomorrow":       {"send", sandboxfault.Rule{Text: "ErrorOfTomorrow"}, fault.Temporary, 0, "", 1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newOffice(t)
			tr := w.transport(t, w.outgoing(t))
			tc.rule.Step, tc.rule.Action = tc.step, sandboxfault.Reply
			w.Fault(tc.rule)
			draft, err := tr.Draft(t.Context(), to(sales), note(""))
			if tc.step == "send" && err == nil {
				err = tr.SendDraft(t.Context(), draft)
			}
			if err == nil || fault.Of(err) != tc.kind || fault.After(err) != tc.after || !strings.Contains(err.Error(), tc.remedy) {
				t.Errorf("%v (%s, after %v), want %s after %v and %q", err, fault.Of(err), fault.After(err), tc.kind, tc.after, tc.remedy)
			}
			if text := fmt.Sprint(err); strings.Contains(text, "MARKER") || strings.Count(text, "(") != strings.Count(text, ")") {
				t.Error(text)
			}
			w.stand(t, tc.drafts, 0, 0)
		})
	}
}

// TestSendLeavesNothingBehind: nobody remembers the draft of a Send.
func TestSendLeavesNothingBehind(t *testing.T) {
	w := newOffice(t)
	tr := w.transport(t, w.outgoing(t))
	w.Fault(sandboxfault.Rule{Step: "send", Action: sandboxfault.Reply, Text: "ErrorServerBusy"})
	if _, err := tr.Send(t.Context(), to(sales), note("")); fault.Of(err) != fault.Throttled {
		t.Errorf("%v", err)
	}
	w.stand(t, 0, 0, 0)
}

// TestSenders: who may send as whom, from whose folders.
func TestSenders(t *testing.T) {
	app := idp.Claims{Client: "app", Roles: []string{"full_access_as_app"}}
	user := idp.Claims{Client: "app", User: support, Scopes: []string{"EWS.AccessAsUser.All"}}
	for name, tc := range map[string]struct {
		claims  idp.Claims
		mailbox string
		from    string
		want    string // part of the error; empty = sent
	}{
		"an application":                          {app, support, support, ""},
		"an application, as another":              {app, support, office, "SendAs"},
		"an application, as one that is allowed":  {app, support, shared, ""},
		"a user":                                  {user, support, support, ""},
		"a user, from a shared mailbox":           {user, shared, shared, ""},
		"a user, from one that is closed to him":  {user, office, support, "FullAccess"},
		"a user, as one whose name is not his":    {user, support, office, "SendAs"},
		"a user, in a shared mailbox, as himself": {user, shared, support, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newOffice(t, shareMailbox, func(c *sandbox.Config) { c.Tenants[0].Apps[0].SendAs = []string{shared} })
			w.mintFor(tc.claims)
			w.Mailbox = tc.mailbox
			s := w.as(t, support)
			s.Endpoint.Impersonate = tc.claims.User == ""
			raw := mail.Bytes("From: <" + tc.from + ">\r\n\r\n")
			_, err := w.transport(t, s).Send(t.Context(), to(sales), raw)
			if (err == nil) != (tc.want == "") || err != nil && !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("%v, want %q", err, tc.want)
			}
			if n := map[bool]int{true: 1}[tc.want == ""]; len(w.Holds(t, "Sent Items")) != n || len(w.Inbox(t, sales)) != n {
				t.Errorf("%d sent, %d arrived, want %d", len(w.Holds(t, "Sent Items")), len(w.Inbox(t, sales)), n)
			}
		})
	}
}

// TestSendWithAPassword is Exchange on premises.
func TestSendWithAPassword(t *testing.T) {
	w := newOffice(t)
	w.Broker.OnMint(func(tokenclient.Ask) (string, time.Time, error) { return providertest.Password, time.Time{}, nil })
	tr := w.transport(t, w.withPassword(t))
	if _, err := tr.Send(t.Context(), to(sales), note("")); err != nil {
		t.Fatal(err)
	}
	w.stand(t, 0, 1, 1)
	w.Fault(sandboxfault.Rule{Action: sandboxfault.RefuseToken})
	if _, err := tr.Send(t.Context(), to(sales), note("")); fault.Of(err) != fault.Auth || strings.Contains(err.Error(), providertest.Password) {
		t.Errorf("a refused password: %v", err)
	}
}

// TestPool: never more requests at a time than the mailbox's pool has.
func TestPool(t *testing.T) {
	w := newOffice(t)
	s := w.outgoing(t)
	s.Outbound.PoolSize = 2
	tr := w.transport(t, s)
	w.Fault(sandboxfault.Rule{Action: sandboxfault.Delay, Delay: 10 * time.Millisecond})
	var all sync.WaitGroup
	for range 12 {
		all.Go(func() {
			if _, err := tr.Send(t.Context(), to(sales), note("")); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if st := w.Sandbox.Stats().EWS; st.Peak[support] > 2 {
		t.Errorf("%d requests ran at a time", st.Peak[support])
	}
	w.stand(t, 0, 12, 12)
}

// TestForeignDrafts: names that this package did not make are refused, and are nowhere to be found.
func TestForeignDrafts(t *testing.T) {
	w := newOffice(t)
	tr := w.transport(t, w.outgoing(t))
	for _, name := range []string{"", "AAMkAD", "{}", `{"v":2,"mark":"m","id":"i"}`, `{"v":1,"mark":"","id":"i"}`, `{"v":1,"mark":"m","id":"` + strings.Repeat("i", 9000) + `"}`} {
		look(t, tr, name, outbound.Vanished)
		if err := tr.SendDraft(t.Context(), name); fault.Of(err) != fault.Permanent {
			t.Errorf("%.40q: %v", name, err)
		}
	}
	if n := w.Sandbox.Stats().EWS.Requests; n != 0 {
		t.Errorf("%d requests were made", n)
	}
}

func TestTransportComplaints(t *testing.T) {
	_, err := ews.NewTransport(ews.TransportConfig{}, tokenclient.Settings{Direction: tokenclient.Outbound, Endpoint: tokenclient.Endpoint{Security: tokenclient.StartTLS, Mechanism: tokenclient.XOAUTH2}}, nil)
	for _, want := range []string{"outlook.office365.com", "smtp-connection-security", "mail.ews.auth.mechanisms", "broker"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
