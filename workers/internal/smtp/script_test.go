package smtp_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	secrets "mailporter/kit/secret"
	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/smtp"
)

// Besides a reply a scripted server can do this.
const (
	cut   = "CUT"   // close the connection
	stall = "STALL" // say nothing more
)

// step is what a scripted server waits for, and what it says to it. "greet" comes at the start, "message" is all up to
// the final dot; any other want is how a command begins.
type step struct{ want, say string }

// scripted serves one connection per script, by hand.
type scripted struct {
	t       *testing.T
	set     tokenclient.Settings
	mu      sync.Mutex
	heard   []string      // commands
	message string        // the last one, as it came over the wire
	stalled chan struct{} // closed once a script stalls
}

func serve(t *testing.T, scripts ...[]step) *scripted {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &scripted{t: t, stalled: make(chan struct{})}
	var serving sync.WaitGroup
	ctx, stop := context.WithCancel(context.Background())
	serving.Go(func() {
		for _, script := range scripts {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { s.play(ctx, conn, script) })
		}
	})
	t.Cleanup(func() {
		stop()
		_ = l.Close()
		serving.Wait()
	})
	s.set = tokenclient.Settings{
		Mailbox: support, Direction: tokenclient.Outbound, Protocol: tokenclient.SMTP,
		Endpoint: tokenclient.Endpoint{
			Server: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, Security: tokenclient.PlainText,
			ConnectTimeout: 5 * time.Second, ProtocolTimeout: 5 * time.Second,
		},
		Outbound: tokenclient.OutboundSettings{PoolSize: 1, CheckIdle: time.Minute, MaxIdle: time.Minute},
	}
	return s
}

// play ends at the script's end, or where the client does something else.
func (s *scripted) play(ctx context.Context, conn net.Conn, script []step) {
	defer conn.Close() //nolint:errcheck // nothing more is expected of it
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	r := bufio.NewReader(conn)
	for _, x := range script {
		if !s.hear(r, x.want) {
			return
		}
		switch x.say {
		case cut:
			return
		case stall:
			close(s.stalled)
			<-ctx.Done()
			return
		case "":
		default:
			if _, err := fmt.Fprint(conn, x.say+"\r\n"); err != nil {
				return
			}
		}
	}
	_, _ = r.ReadByte() // until the client leaves
}

func (s *scripted) hear(r *bufio.Reader, want string) bool {
	if want == "greet" {
		return true
	}
	var text strings.Builder
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return false
		}
		text.WriteString(line)
		if want != "message" || line == ".\r\n" {
			break
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if want == "message" {
		s.message = text.String()
		return true
	}
	line := strings.TrimRight(text.String(), "\r\n")
	s.heard = append(s.heard, line)
	return strings.HasPrefix(line, want)
}

func (s *scripted) all() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.heard...)
}

func (s *scripted) transport() *smtp.Transport {
	s.t.Helper()
	tr, err := smtp.New(smtp.Config{AfterDot: 100 * time.Millisecond}, s.set, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = tr.Close() })
	return tr
}

// opened are the steps up to where transactions start, on a server that offers this.
func opened(offers ...string) []step {
	return []step{{"greet", "220 hello"}, {"EHLO localhost", "250-me\r\n250-" + strings.Join(append(offers, "X"), "\r\n250-") + "\r\n250 LAST"}}
}

// sent are the steps of one transaction that succeeds.
func sent() []step {
	return []step{{"MAIL", "250 ok"}, {"RCPT", "250 ok"}, {"DATA", "354 go"}, {"message", "250 done"}}
}

func with(parts ...[]step) (all []step) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

var hello = mail.Bytes("Subject: x\r\n\r\n.x\r\n")

func to(addresses ...string) mail.Envelope {
	e := mail.Envelope{From: support}
	for _, a := range addresses {
		e.Recipients = append(e.Recipients, mail.Recipient{Address: a})
	}
	return e
}

// The link breaks, or the server refuses, at each step.
func TestEachStepFails(t *testing.T) {
	mailed := with(opened(), []step{{"MAIL", "250 ok"}})
	addressed := with(mailed, []step{{"RCPT", "250 ok"}})
	begun := with(addressed, []step{{"DATA", "354 go"}})
	for name, c := range map[string]struct {
		script []step
		want   fault.Kind
	}{
		"cut at once":             {[]step{{"greet", cut}}, fault.Temporary},
		"refused at once":         {[]step{{"greet", "554 go away"}}, fault.Temporary},
		"no greeting":             {[]step{{"greet", "garbage"}}, fault.Temporary},
		"cut at EHLO":             {[]step{{"greet", "220 x"}, {"EHLO", cut}}, fault.Temporary},
		"EHLO refused":            {[]step{{"greet", "220 x"}, {"EHLO", "554 no"}}, fault.Temporary},
		"cut at MAIL":             {with(opened(), []step{{"MAIL", cut}}), fault.Temporary},
		"421 at MAIL":             {with(opened(), []step{{"MAIL", "421 4.3.2 closing"}}), fault.Temporary},
		"sender later":            {with(opened(), []step{{"MAIL", "451 4.3.0 later"}}), fault.Temporary},
		"a login is wanted":       {with(opened(), []step{{"MAIL", "530 Authentication required"}}), fault.Auth},
		"a login is wanted later": {with(mailed, []step{{"RCPT", "250 ok"}, {"DATA", "530 5.5.1 Authentication Required."}}), fault.Auth},
		"out of step at MAIL":     {with(opened(), []step{{"MAIL", "503 5.5.1 nested MAIL"}}), fault.Temporary},
		"sender denied":           {with(opened(), []step{{"MAIL", "550 5.7.60 Client does not have permissions to send as this sender"}}), fault.Permanent},
		"throttled":               {with(opened(), []step{{"MAIL", "432 4.3.2 slow"}}), fault.Throttled},
		"cut at RCPT":             {with(mailed, []step{{"RCPT", cut}}), fault.Temporary},
		"421 at RCPT":             {with(mailed, []step{{"RCPT", "421 closing"}}), fault.Temporary},
		"cut at DATA":             {with(addressed, []step{{"DATA", cut}}), fault.Temporary},
		"DATA refused":            {with(addressed, []step{{"DATA", "554 5.6.0 no"}}), fault.Permanent},
		"cut after the final dot": {with(begun, []step{{"message", cut}}), fault.InDoubt},
		"silence after the dot":   {with(begun, []step{{"message", stall}}), fault.InDoubt},
		"nonsense after the dot":  {with(begun, []step{{"message", "yes"}}), fault.InDoubt},
		"refused after the dot":   {with(begun, []step{{"message", "554 5.2.252 SendAsDenied"}}), fault.Permanent},
		"later after the dot":     {with(begun, []step{{"message", "451 4.3.0 later"}}), fault.Temporary},
		"421 after the dot":       {with(begun, []step{{"message", "421 4.3.2 closing"}}), fault.Temporary},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, c.script)
			s.set.Endpoint.ProtocolTimeout = 300 * time.Millisecond // of silence
			if _, err := s.transport().Send(t.Context(), to(sales), hello); err == nil || fault.Of(err) != c.want {
				t.Errorf("%v, kind %v, want %v", err, fault.Of(err), c.want)
			}
		})
	}
}

func TestBytesOnTheWire(t *testing.T) {
	s := serve(t, with(opened(), sent()))
	if _, err := s.transport().Send(t.Context(), to(sales), hello); err != nil {
		t.Fatal(err)
	}
	if s.message != "Subject: x\r\n\r\n..x\r\n.\r\n" {
		t.Errorf("%q", s.message)
	}
}

// A message that would have to be altered is refused for good, and its part never completed.
func TestLoneLineEndIsNotSent(t *testing.T) {
	s := serve(t, with(opened(), []step{{"MAIL", "250 ok"}, {"RCPT", "250 ok"}, {"DATA", "354 go"}, {"message", "250 done"}}))
	for _, m := range []string{"a\nb\r\n", "a\r"} {
		_, err := s.transport().Send(t.Context(), to(sales), mail.Bytes(m))
		var f *fault.Error
		if !errors.As(err, &f) || f.Kind != fault.Permanent || f.Reason != "LONE_LINE_END" {
			t.Errorf("%v", err)
		}
		if s.message != "" {
			t.Errorf("sent %q", s.message)
		}
		s = serve(t, with(opened(), []step{{"MAIL", "250 ok"}, {"RCPT", "250 ok"}, {"DATA", "354 go"}, {"message", "250 done"}}))
	}
}

func TestEnvelopeOnTheWire(t *testing.T) {
	full := mail.Envelope{
		From: support, Return: "HDRS", ID: "QQ+2B1", EightBit: true,
		Recipients: []mail.Recipient{{Address: sales, Notify: "SUCCESS,DELAY", Original: "rfc822;a+2Bb@c"}},
	}
	utf8 := to("süd@contoso.example")
	for name, c := range map[string]struct {
		offers   []string
		envelope mail.Envelope
		want     string // the commands, or the refusal's reason
	}{
		"everything offered": {
			[]string{"SIZE 1000", "8BITMIME", "DSN", "SMTPUTF8"}, full,
			"MAIL FROM:<support@contoso.example> SIZE=18 BODY=8BITMIME RET=HDRS ENVID=QQ+2B1|RCPT TO:<sales@contoso.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+2Bb@c",
		},
		"no DSN":              {[]string{"8BITMIME"}, full, "MAIL FROM:<support@contoso.example> BODY=8BITMIME|RCPT TO:<sales@contoso.example>"},
		"size without number": {[]string{"SIZE"}, to(sales), "MAIL FROM:<support@contoso.example> SIZE=18|RCPT TO:<sales@contoso.example>"},
		"UTF-8":               {[]string{"SMTPUTF8"}, utf8, "MAIL FROM:<support@contoso.example> SMTPUTF8|RCPT TO:<süd@contoso.example>"},
		"too large":           {[]string{"SIZE 17"}, to(sales), "MESSAGE_TOO_LARGE"},
		"no 8BITMIME":         {nil, full, "EIGHT_BIT_NOT_OFFERED"},
		"no SMTPUTF8":         {nil, utf8, "UTF8_NOT_OFFERED"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, with(opened(c.offers...), sent()))
			receipt, err := s.transport().Send(t.Context(), c.envelope, hello)
			if receipt.Reports != (err == nil && slices.Contains(c.offers, "DSN")) {
				t.Errorf("of reports the receipt says %v", receipt.Reports)
			}
			var f *fault.Error
			if errors.As(err, &f) {
				if f.Reason != c.want || f.Kind != fault.Permanent || f.Remedy == "" || len(s.all()) != 1 {
					t.Errorf("%v after %q", err, s.all())
				}
				return
			}
			if got := strings.Join(s.all()[1:3], "|"); err != nil || got != c.want {
				t.Errorf("%v; sent %q\nwant %q", err, got, c.want)
			}
		})
	}
}

func TestControlCharactersInTheEnvelope(t *testing.T) {
	s := serve(t, opened())
	if _, err := s.transport().Send(t.Context(), to("a@b>\r\nRSET"), hello); fault.Of(err) != fault.Permanent || len(s.all()) != 1 {
		t.Errorf("%v after %q", err, s.all())
	}
}

// keeper is a broker with one credential.
type keeper struct{ token tokenclient.Token }

func (k keeper) Acquire(context.Context, tokenclient.Ask) (tokenclient.Token, error) {
	return k.token, nil
}

func (keeper) Reject(context.Context, tokenclient.Ask, tokenclient.Token, tokenclient.Refusal) (tokenclient.Outcome, error) {
	return tokenclient.Outcome{Kind: tokenclient.Suppressed, Reason: tokenclient.ReasonFreshRefused}, nil
}

// TestLoginOnTheWire: the mechanism that fits what the server offers, in two lines, whatever a server's 334 looks like.
func TestLoginOnTheWire(t *testing.T) {
	const token = "dXNlcj1zdXBwb3J0QGNvbnRvc28uZXhhbXBsZQFhdXRoPUJlYXJlciBUAQE="
	for name, c := range map[string]struct {
		mechanism tokenclient.Mechanism
		offer     string
		login     []step
		reason    string // of the refusal; empty: the message goes out
	}{
		"a password by PLAIN":          {tokenclient.Basic, "AUTH LOGIN PLAIN", []step{{"AUTH PLAIN", "334 "}, {"AHN1cHBvcnRAY29udG9zby5leGFtcGxlAFQ=", "235 2.7.0 ok"}}, ""},
		"a password by LOGIN":          {tokenclient.Basic, "AUTH NTLM LOGIN", []step{{"AUTH LOGIN", "334 VXNlcm5hbWU6"}, {"c3VwcG9ydEBjb250b3NvLmV4YW1wbGU=", "334 UGFzc3dvcmQ6"}, {"VA==", "235 ok"}}, ""},
		"a token":                      {tokenclient.XOAUTH2, "auth login xoauth2", []step{{"AUTH XOAUTH2", "334"}, {token, "235-2.7.0 Accepted\r\n235 2.7.0 and more"}}, ""},
		"a token with a text in 334":   {tokenclient.XOAUTH2, "AUTH XOAUTH2", []step{{"AUTH XOAUTH2", "334 go ahead"}, {token, "235 ok"}}, ""},
		"refused after a challenge":    {tokenclient.XOAUTH2, "AUTH XOAUTH2", []step{{"AUTH XOAUTH2", "334 "}, {token, "334 eyJzdGF0dXMiOiI0MDAifQ=="}, {"", "535-5.7.8 Username and Password\r\n535 5.7.8 not accepted"}}, tokenclient.ReasonFreshRefused},
		"offered as drafts had it":     {tokenclient.Basic, "AUTH=LOGIN", []step{{"AUTH LOGIN", "334 VXNlcm5hbWU6"}, {"c3VwcG9ydEBjb250b3NvLmV4YW1wbGU=", "334 UGFzc3dvcmQ6"}, {"VA==", "235 ok"}}, ""},
		"offered on several lines":     {tokenclient.Basic, "AUTH PLAIN\r\n250-AUTH GSSAPI\r\n250-AUTH=GSSAPI", []step{{"AUTH PLAIN", "334 "}, {"AHN1cHBvcnRAY29udG9zby5leGFtcGxlAFQ=", "235 2.7.0 ok"}}, ""},
		"nothing that fits":            {tokenclient.XOAUTH2, "AUTH LOGIN PLAIN", nil, "MECHANISM_NOT_OFFERED"},
		"no password for a token":      {tokenclient.Basic, "AUTH XOAUTH2", nil, "MECHANISM_NOT_OFFERED"},
		"switched off for the mailbox": {tokenclient.XOAUTH2, "AUTH XOAUTH2", []step{{"AUTH XOAUTH2", "334 "}, {token, "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox."}}, "SMTP_AUTH_DISABLED"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, with(opened(c.offer), c.login, sent()))
			s.set.Endpoint.Mechanism = c.mechanism
			tr, err := smtp.New(smtp.Config{}, s.set, keeper{tokenclient.Token{Value: secrets.New("T"), User: support, Mechanism: c.mechanism}})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = tr.Close() }() // the script's end may have closed it
			_, err = tr.Send(t.Context(), to(sales), hello)
			if (err == nil) != (c.reason == "") || c.reason != "" && !hasReason(err, c.reason) {
				t.Errorf("%v after %q, want %q", err, s.all(), c.reason)
			}
		})
	}
}

// hasReason looks for a reason of the server's or the broker's.
func hasReason(err error, reason string) bool {
	var reply *fault.Error
	var broker *tokenclient.Error
	return errors.As(err, &reply) && reply.Reason == reason || errors.As(err, &broker) && broker.Reason == reason
}

// MAIL refused while RCPT was on its way already: the replies stay in step.
func TestPipelining(t *testing.T) {
	s := serve(t, with(opened("PIPELINING"),
		[]step{{"MAIL", ""}, {"RCPT", ""}, {"RCPT", "451 4.3.0 later\r\n503 5.5.1 MAIL first\r\n503 5.5.1 MAIL first"}, {"RSET", "250 ok"}},
		[]step{{"MAIL", ""}, {"RCPT", ""}, {"RCPT", "250 ok\r\n550 5.1.1 who?\r\n250 ok"}, {"DATA", "354 go"}, {"message", "250 done"}}))
	tr := s.transport()
	if _, err := tr.Send(t.Context(), to(sales, office), hello); fault.Of(err) != fault.Temporary || !strings.Contains(err.Error(), "451 4.3.0 later") {
		t.Errorf("%v", err)
	}
	r, err := tr.Send(t.Context(), to(sales, office), hello)
	if err != nil || len(r.Refused) != 1 || r.Refused[0].Address != sales {
		t.Errorf("%v, %v; heard %q", r, err, s.all())
	}
}

// A server that takes so many messages over a connection and then refuses with any 4xx takes the next one over another.
func TestConnectionIsUsedUp(t *testing.T) {
	for name, offers := range map[string]string{"one by one": "X", "pipelined": "PIPELINING"} {
		t.Run(name, func(t *testing.T) {
			refusal := step{"MAIL", "452 4.3.2 too many messages in this connection"}
			s := serve(t, with(opened(offers), sent(), []step{refusal}), with(opened(offers), sent()))
			tr := s.transport()
			for range 2 {
				if _, err := tr.Send(t.Context(), to(sales), hello); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// Exchange's 432 is about the mailbox: another connection would be one more too many.
func TestThrottledConnectionIsNotReplaced(t *testing.T) {
	s := serve(t, with(opened(), sent(), []step{{"MAIL", "432 4.3.2 slow"}}), with(opened(), sent()))
	tr := s.transport()
	for _, want := range []fault.Kind{fault.Temporary, fault.Throttled} {
		if _, err := tr.Send(t.Context(), to(sales), hello); fault.Of(err) != want {
			t.Fatalf("%v, want %v", err, want)
		}
	}
}

// Who was refused before the link broke is in no doubt.
func TestRefusedBeforeTheDoubt(t *testing.T) {
	s := serve(t, with(opened(), []step{{"MAIL", "250 ok"}, {"RCPT", "250 ok"}, {"RCPT", "450 4.2.0 later"}, {"DATA", "354 go"}, {"message", cut}}))
	r, err := s.transport().Send(t.Context(), to(sales, office), hello)
	if fault.Of(err) != fault.InDoubt || len(r.Refused) != 1 || r.Refused[0].Address != office || fault.Of(r.Refused[0].Err) != fault.Temporary {
		t.Errorf("%v, %v", r, err)
	}
}

// A server that closed an idle connection costs no attempt.
func TestStaleConnection(t *testing.T) {
	for name, last := range map[string]step{"closed": {"MAIL", cut}, "421": {"MAIL", "421 4.4.2 idle for too long"}} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, with(opened(), sent(), []step{last}), with(opened(), sent()))
			tr := s.transport()
			for range 2 {
				if _, err := tr.Send(t.Context(), to(sales), hello); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func TestServerWithoutEHLO(t *testing.T) {
	for _, no := range []string{"500 unknown", "501 syntax", "502 what?", "504 not here", "550 not here"} {
		s := serve(t, with([]step{{"greet", "220 x"}, {"EHLO", no}, {"HELO localhost", "250 me"}}, sent()))
		if _, err := s.transport().Send(t.Context(), to(sales), hello); err != nil {
			t.Errorf("%s: %v", no, err)
		}
	}
}

// A server that stops reading in the middle of a message may have said why.
func TestRefusedInTheMiddle(t *testing.T) {
	s := serve(t, with(opened(), []step{{"MAIL", "250 ok"}, {"RCPT", "250 ok"}, {"DATA", "354 go\r\n552 5.3.4 enough"}, {"never", cut}}))
	large := mail.Bytes(strings.Repeat("0123456789\r\n", 2<<20))
	_, err := s.transport().Send(t.Context(), to(sales), large)
	if err == nil || fault.Of(err) == fault.InDoubt {
		t.Errorf("%v", err)
	}
}

// A server that keeps us waiting longer than connect-timeout is called that, not a connection that somebody closed.
func TestSlowGreeting(t *testing.T) {
	s := serve(t, []step{{"greet", stall}})
	s.set.Endpoint.ConnectTimeout = 50 * time.Millisecond
	_, err := s.transport().Send(t.Context(), to(sales), hello)
	if !hasReason(err, "CONNECT_TIMEOUT") || fault.Of(err) != fault.Temporary {
		t.Errorf("%v", err)
	}
}

func TestCancelledInTheMiddle(t *testing.T) {
	s := serve(t, with(opened(), []step{{"MAIL", stall}}))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := s.transport().Send(ctx, to(sales), hello)
		done <- err
	}()
	<-s.stalled
	cancel()
	if err := <-done; err == nil || fault.Of(err) != fault.Temporary {
		t.Errorf("%v", err)
	}
}

// Mail and credentials never go in the clear because a server does not offer better.
func TestStartTLSIsRequired(t *testing.T) {
	for name, script := range map[string][]step{
		"not offered": opened(),
		"refused":     with(opened("STARTTLS"), []step{{"STARTTLS", "454 4.7.0 TLS not available"}}),
		"injected":    with(opened("STARTTLS"), []step{{"STARTTLS", "220 go\r\n250 injected"}}),
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, script)
			s.set.Endpoint.Security = tokenclient.StartTLS
			if _, err := s.transport().Send(t.Context(), to(sales), hello); err == nil || fault.Of(err) == fault.Permanent {
				t.Errorf("%v", err)
			}
			for _, line := range s.all() {
				if strings.HasPrefix(line, "MAIL") || strings.HasPrefix(line, "AUTH") {
					t.Errorf("sent in the clear: %q", line)
				}
			}
		})
	}
}

func TestSettingsAreChecked(t *testing.T) {
	s := tokenclient.Settings{Endpoint: tokenclient.Endpoint{Mechanism: tokenclient.Bearer}}
	_, err := smtp.New(smtp.Config{}, s, nil)
	for _, want := range []string{"server", "port 0", "security", "BEARER"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not complain about %s", err, want)
		}
	}
}
