package graph_test

import (
	"errors"
	"net"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"mailporter/kit/tokenclient"
	sandboxfault "mailporter/sandbox/fault"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/graph"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/outbound/outboundtest"
	"mailporter/workers/internal/providertest"
)

// sending are the settings of the mailbox for mail that goes out.
func (w *world) sending(t *testing.T) tokenclient.Settings {
	t.Helper()
	s := w.settings(t)
	s.Direction, s.Inbound, s.Outbound = tokenclient.Outbound, tokenclient.InboundSettings{}, tokenclient.OutboundSettings{PoolSize: 4}
	return s
}

// transport makes a Transport with these settings, known to the broker; the test closes it.
func (w *world) transport(t *testing.T, s tokenclient.Settings) *graph.Transport {
	t.Helper()
	c := graph.TransportConfig{Roots: w.Sandbox.CertPool()}
	return providertest.Open(t, w.World, s, func() (*graph.Transport, error) { return graph.NewTransport(c, s, w.Client) })
}

// cause turns the suite's troubles into rules of the sandbox.
func (w *world) cause(t *testing.T, what outboundtest.Trouble) {
	t.Helper()
	rule := sandboxfault.Rule{Step: "send", Count: 1, Action: sandboxfault.Reply}
	switch what {
	case outboundtest.TryLater:
		rule.Step, rule.Status = "draft", 500
	case outboundtest.Throttle:
		rule.Status, rule.RetryAfter = 429, 7*time.Second
	case outboundtest.Refuse:
		rule.Status, rule.Body = 400, `{"error":{"code":"ErrorInvalidRecipients","message":"At least one recipient is not valid."}}`
	case outboundtest.CutBefore:
		rule.Action = sandboxfault.Reset
	case outboundtest.CutAfter:
		rule.Action = sandboxfault.LoseAnswer
	case outboundtest.RefuseToken:
		rule.Action = sandboxfault.RefuseToken
	case outboundtest.RefuseTokens:
		rule.Action, rule.Count = sandboxfault.RefuseToken, 0
	case outboundtest.TokensExpireSoon:
		w.Live(time.Second + 300*time.Millisecond) // less than a moment beyond the margin
		return
	}
	w.Fault(rule)
}

func (w *world) postOffice() *outboundtest.Server {
	return &outboundtest.Server{
		From: support, To: []string{sales, office}, NoOne: "nobody", AllOrNothing: true,
		Troubles: []outboundtest.Trouble{
			outboundtest.TryLater, outboundtest.Throttle, outboundtest.Refuse, outboundtest.CutBefore, outboundtest.CutAfter,
			outboundtest.RefuseToken, outboundtest.RefuseTokens, outboundtest.TokensExpireSoon,
		},
		Cause: w.cause, Taken: w.Inbox, Secrets: w.Secrets,
		Open: func(t *testing.T) outbound.Transport { return w.transport(t, w.sending(t)) },
		Away: func(t *testing.T) outbound.Transport { return w.through(t, "127.0.0.1:1") },
	}
}

func TestTransport(t *testing.T) {
	outboundtest.Transport(t, func(t *testing.T) *outboundtest.Server {
		w := newWorld(t)
		t.Cleanup(func() { w.noneThrottled(t) })
		return w.postOffice()
	})
}

// noneThrottled: Exchange runs four requests of a mailbox at a time and refuses a fifth.
func (w *world) noneThrottled(t *testing.T) {
	t.Helper()
	if st := w.Sandbox.Stats().Graph; st.Throttled != 0 || st.Peak[support] > 4 {
		t.Errorf("%d requests were refused, at most %d ran at a time", st.Throttled, st.Peak[support])
	}
}

func TestDrafter(t *testing.T) {
	outboundtest.Drafter(t, func(t *testing.T) *outboundtest.DraftServer {
		w := newWorld(t)
		w.Broker.SetMailboxes(w.sending(t))
		return &outboundtest.DraftServer{
			Server: w.postOffice(), Address: strings.TrimPrefix(w.Sandbox.GraphURL(), "https://"),
			Through: w.through, Spoil: w.spoil,
			Drafts: func(t *testing.T) int { return len(w.Folder(t, "Drafts").Messages) },
			Discard: func(t *testing.T) {
				for _, raw := range w.Holds(t, "Drafts") {
					w.Remove(t, "Drafts", raw)
				}
			},
		}
	})
}

func (w *world) through(t *testing.T, address string) outbound.Drafter {
	t.Helper()
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	s := w.sending(t)
	if s.Endpoint.Port, err = strconv.Atoi(port); err != nil {
		t.Fatal(err)
	}
	return w.transport(t, s)
}

func (w *world) spoil(t *testing.T, step outboundtest.Step, m outboundtest.Mishap) {
	t.Helper()
	rule := sandboxfault.Rule{Step: map[outboundtest.Step]string{outboundtest.Drafting: "draft", outboundtest.Sending: "send"}[step], Count: 1}
	switch m {
	case outboundtest.RequestLost:
		rule.Action = sandboxfault.Reset
	case outboundtest.AnswerLost:
		rule.Action = sandboxfault.LoseAnswer
	case outboundtest.ForGood:
		rule.Action, rule.Status, rule.Body = sandboxfault.Reply, 400, `{"error":{"code":"ErrorMimeContentInvalid"}}`
	}
	w.Fault(rule)
}

func to(all ...string) mail.Envelope {
	e := mail.Envelope{From: support}
	for _, a := range all {
		e.Recipients = append(e.Recipients, mail.Recipient{Address: a})
	}
	return e
}

// TestEnvelope: who gets it is what the envelope says, or the message is refused before anything is in the mailbox.
func TestEnvelope(t *testing.T) {
	for name, tc := range map[string]struct {
		header   string
		envelope []string
		gets     []string // nil: refused for good
		want     string   // in the error
	}{
		"all are named":                {"To: <" + sales + ">\r\nCc: B <" + office + ">\r\n", []string{sales, office}, []string{sales, office}, ""},
		"in other letters":             {"To: <SALES@contoso.example>\r\n", []string{sales}, []string{sales}, ""},
		"nobody is named":              {"", []string{sales, office}, []string{sales, office}, ""},
		"a group of nobody":            {"To: undisclosed-recipients:;\r\n", []string{sales}, []string{sales}, ""},
		"one is hidden":                {"To: <" + sales + ">\r\n", []string{sales, office}, []string{sales, office}, ""},
		"Bcc is the hidden ones":       {"To: <" + sales + ">\r\nBcc: <" + office + ">\r\n", []string{sales, office}, []string{sales, office}, ""},
		"Bcc names one too many":       {"To: <" + sales + ">\r\nBcc: <" + office + ">\r\n", []string{sales}, []string{sales}, ""},
		"To names one too many":        {"To: <" + sales + ">, <" + office + ">\r\n", []string{sales}, nil, "the envelope leaves out"},
		"a second To":                  {"To: <" + sales + ">\r\nTo: <" + office + ">\r\n", []string{sales}, nil, "the envelope leaves out"},
		"To is no list":                {"To: <<>>\r\n", []string{sales}, nil, "To cannot be read"},
		"a name in an unknown charset": {"To: =?x-odd?q?A=FF?= <" + sales + ">\r\n", []string{sales}, []string{sales}, ""},
		"a name in eight bits":         {"To: Caf\xe9 <" + sales + ">\r\n", []string{sales}, []string{sales}, ""},
		"a line break in the envelope": {"", []string{"a@b\r\nc"}, nil, "an address that is none"},
		"another sender":               {"From: <" + shared + ">\r\n", []string{sales}, nil, "allow-delegate"},
		"two senders":                  {"From: <" + support + ">, <" + shared + ">\r\n", []string{sales}, nil, "2 senders"},
		"a header that is none":        {"no field\r\n", []string{sales}, nil, "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			tr := w.transport(t, w.sending(t))
			_, err := tr.Send(t.Context(), to(tc.envelope...), mail.Bytes(tc.header+"Subject: x\r\n\r\nx\r\n"))
			if tc.gets == nil {
				if fault.Of(err) != fault.Permanent || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("%v of kind %v", err, fault.Of(err))
				}
				if n := w.Sandbox.Stats().Graph.Requests; n != 0 {
					t.Errorf("%d requests were made for what was refused", n)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range []string{sales, office} {
				got, want := len(w.Inbox(t, a)), strings.Count(strings.Join(tc.gets, " "), a)
				if got != want {
					t.Errorf("%s got %d, want %d", a, got, want)
				}
			}
		})
	}
}

// TestDelegate: another sender is set on the draft where that is allowed, and refused with a remedy where it is not granted.
func TestDelegate(t *testing.T) {
	w := newWorld(t)
	s := w.sending(t)
	s.Outbound.AllowDelegate = true
	tr := w.transport(t, s)
	b := mail.Bytes("From: Us <" + shared + ">\r\nTo: <" + sales + ">\r\n\r\nx\r\n")
	if _, err := tr.Send(t.Context(), to(sales), b); err != nil {
		t.Fatal(err)
	}
	if got := w.Inbox(t, sales); len(got) != 1 || string(got[0]) != string(b) {
		t.Errorf("%q", got)
	}
	b = mail.Bytes("From: <" + office + ">\r\nTo: <" + sales + ">\r\n\r\nx\r\n")
	_, err := tr.Send(t.Context(), to(sales), b)
	var e *fault.Error
	if !errors.As(err, &e) || e.Kind != fault.Permanent || e.Reason != "SEND_AS_DENIED" || !strings.Contains(err.Error(), "SendAs") {
		t.Errorf("%v", err)
	}
	if n := len(w.Folder(t, "Drafts").Messages); n != 0 {
		t.Errorf("%d drafts stay behind", n)
	}
}

// TestSendAnswers: what the server says to sending becomes a kind, a reason and what to do.
func TestSendAnswers(t *testing.T) {
	code := func(c string) string { return `{"error":{"code":"` + c + `","message":"So it is."}}` }
	for name, tc := range map[string]struct {
		step   string
		rule   sandboxfault.Rule
		kind   fault.Kind
		after  time.Duration
		reason string
	}{
		"a gateway gave up":           {"send", sandboxfault.Rule{Status: 504}, fault.InDoubt, 0, ""},
		"a gateway gave up, for now":  {"send", sandboxfault.Rule{Status: 504, RetryAfter: time.Minute}, fault.InDoubt, time.Minute, ""},
		"a bad gateway":               {"send", sandboxfault.Rule{Status: 502, Body: "<html>"}, fault.InDoubt, 0, ""},
		"an internal error":           {"send", sandboxfault.Rule{Status: 500, Body: code("ErrorInternalServerError")}, fault.InDoubt, 0, ""},
		"the same before":             {"draft", sandboxfault.Rule{Status: 504}, fault.Temporary, 0, ""},
		"throttled":                   {"send", sandboxfault.Rule{Status: 429, RetryAfter: 3 * time.Second}, fault.Throttled, 3 * time.Second, "SERVER_THROTTLED"},
		"too many today":              {"send", sandboxfault.Rule{Status: 429, Body: code("ErrorExceededMessageLimit")}, fault.Throttled, time.Hour, "DAILY_LIMIT"},
		"the quota is used up":        {"send", sandboxfault.Rule{Status: 403, Body: code("ErrorSubmissionQuotaExceeded")}, fault.Throttled, time.Hour, "DAILY_LIMIT"},
		"blocked for spam":            {"send", sandboxfault.Rule{Status: 403, Body: code("ErrorMessageSubmissionBlocked")}, fault.Auth, 0, "ACCOUNT_BLOCKED"},
		"suspended":                   {"send", sandboxfault.Rule{Status: 403, Body: code("ErrorAccountSuspend")}, fault.Auth, 0, "ACCOUNT_BLOCKED"},
		"without the permission":      {"send", sandboxfault.Rule{Status: 403, Body: code("ErrorAccessDenied")}, fault.Auth, 0, "ACCESS_DENIED"},
		"without a licence":           {"draft", sandboxfault.Rule{Status: 404, Body: code("MailboxNotEnabledForRESTAPI")}, fault.Auth, 0, "NO_MAILBOX"},
		"too large after all":         {"draft", sandboxfault.Rule{Status: 413}, fault.Permanent, 0, "TOO_LARGE"},
		"too large for the recipient": {"send", sandboxfault.Rule{Status: 400, Body: code("ErrorMessageSizeExceeded")}, fault.Permanent, 0, "TOO_LARGE"},
		"no MIME":                     {"draft", sandboxfault.Rule{Status: 400, Body: code("ErrorMimeContentInvalid")}, fault.Permanent, 0, "CONTENT_INVALID"},
		"bad addresses":               {"update", sandboxfault.Rule{Status: 400, Body: code("ErrorInvalidRecipients")}, fault.Permanent, 0, "RECIPIENTS_INVALID"},
		"an answer that is none":      {"draft", sandboxfault.Rule{Status: 201, Body: "{}"}, fault.Temporary, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			tr := w.transport(t, w.sending(t))
			tc.rule.Step, tc.rule.Action, tc.rule.Count = tc.step, sandboxfault.Reply, 1
			w.Fault(tc.rule)
			_, err := tr.Send(t.Context(), to(sales), mail.Bytes("Subject: x\r\n\r\nx\r\n"))
			var e *fault.Error
			if err == nil || fault.Of(err) != tc.kind || fault.After(err) != tc.after || tc.reason != "" && (!errors.As(err, &e) || e.Reason != tc.reason) {
				t.Fatalf("%v (%s, after %v), want %s %s after %v", err, fault.Of(err), fault.After(err), tc.kind, tc.reason, tc.after)
			}
			want := 0
			if tc.kind == fault.InDoubt {
				want = 1 // it may be on its way
			}
			if n := len(w.Folder(t, "Drafts").Messages); n != want {
				t.Errorf("%d drafts stay behind, want %d", n, want)
			}
		})
	}
}

func TestTransportSettings(t *testing.T) {
	w := newWorld(t)
	for name, tc := range map[string]struct {
		change func(*tokenclient.Settings)
		want   string
	}{
		"no host":    {func(s *tokenclient.Settings) { s.Endpoint.Server = "" }, "graph.microsoft.com"},
		"clear text": {func(s *tokenclient.Settings) { s.Endpoint.Security = tokenclient.PlainText }, "ssl-tls only"},
		"a password": {func(s *tokenclient.Settings) { s.Endpoint.Mechanism = tokenclient.Basic }, "access tokens only"},
		"no proxy":   {func(s *tokenclient.Settings) { s.Endpoint.Proxy = (&url.URL{Path: "x"}).String() }, "proxy"},
	} {
		s := w.sending(t)
		tc.change(&s)
		if _, err := graph.NewTransport(graph.TransportConfig{}, s, w.Client); err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), support) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}
