package sandbox_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"mailporter/sandbox"
	"mailporter/sandbox/fault"
)

// hands sends one letter over a connection of its own, up to the goodbye.
func hands(sb *sandbox.Sandbox, token string) error {
	c, err := smtp.DialStartTLS(sb.SMTPAddr(), tlsConfig(sb))
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Auth(&bearer{user: support, token: token}); err != nil {
		return err
	}
	if err := c.Reset(); err != nil {
		return err
	}
	return send(c, support, letter(1), sales)
}

// TestSMTPBreaksWhereNobodyAnswers: at the greeting, in the handshake, inside a message, at RSET. Nothing of it is stored.
func TestSMTPBreaksWhereNobodyAnswers(t *testing.T) {
	for _, rule := range []fault.Rule{{Step: "greeting"}, {Step: "connect"}, {Step: "starttls"}, {Step: "body"}, {Step: "body", Bytes: 10}, {Step: "reset"}} {
		for _, action := range []fault.Action{fault.Reset, fault.Stall} {
			t.Run(rule.Step+" "+string(action), func(t *testing.T) {
				sb := start(t, contoso())
				token := appToken(t, sb, service)
				rule.Target, rule.Action, rule.Count = fault.SMTP, action, 1
				id := sb.Faults().Add(rule)
				failed := make(chan error, 1)
				go func() { failed <- hands(sb, token) }()
				if action == fault.Stall {
					happens(t, sb, id)
				} else if err := <-failed; err == nil {
					t.Error("nothing failed")
				}
				if sb.Faults().Fired(id) != 1 {
					t.Error("the step was not reached")
				}
				if err := hands(sb, token); err != nil {
					t.Errorf("after the fault: %v", err)
				}
				if f, _ := sb.Store().Folder(sales, "INBOX"); len(f.Messages) != 1 {
					t.Errorf("%d messages stored, want the second alone", len(f.Messages))
				}
				if err := sb.Close(); err != nil {
					t.Error(err)
				}
				if action == fault.Stall && <-failed == nil {
					t.Error("a stalled session ended well")
				}
			})
		}
	}
}

// TestResetIsRSETAlone: go-smtp resets at the end of a message, too.
func TestResetIsRSETAlone(t *testing.T) {
	sb := start(t, contoso())
	id := sb.Faults().Add(fault.Rule{Target: fault.SMTP, Step: "reset", Action: fault.Delay})
	c := openSMTP(t, sb, support, appToken(t, sb, service))
	for n := range 3 {
		if err := send(c, support, letter(n), sales); err != nil {
			t.Fatal(err)
		}
	}
	if n := sb.Faults().Fired(id); n != 0 {
		t.Errorf("%d times without a RSET", n)
	}
	if err := c.Reset(); err != nil || sb.Faults().Fired(id) != 1 {
		t.Errorf("%v, %d times after one", err, sb.Faults().Fired(id))
	}
}

// happens waits until a rule did.
func happens(t *testing.T, sb *sandbox.Sandbox, rule string) {
	t.Helper()
	for range 1000 {
		if sb.Faults().Fired(rule) > 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the step was not reached")
}

// TestHeldAnswers: the step is done and nobody hears of it; the gateway's own answer says as little.
func TestHeldAnswers(t *testing.T) {
	for name, rule := range map[string]fault.Rule{
		"held":    {Action: fault.HoldAnswer},
		"gateway": {Action: fault.LoseAnswer, Status: http.StatusGatewayTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			sb := start(t, contoso())
			g := newGraphSender(t, sb)
			path := g.draft(t, graphLetter)
			rule.Target, rule.Step, rule.Count = fault.Graph, "send", 1
			id := sb.Faults().Add(rule)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, sb.GraphURL()+"/v1.0/users/"+support+"/"+path+"/send", strings.NewReader(""))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", "Bearer "+g.token)
			status := make(chan int, 1)
			go func() {
				defer close(status)
				if res, err := g.client.Do(req); err == nil {
					status <- res.StatusCode
					_ = res.Body.Close()
				}
			}()
			happens(t, sb, id)
			if rule.Action == fault.HoldAnswer {
				for len(holds(t, sb, sales, "INBOX")) == 0 { // the rule counts before the step
					time.Sleep(time.Millisecond)
				}
				cancel()
			}
			if got := <-status; got != rule.Status {
				t.Errorf("answered %d, want %d", got, rule.Status)
			}
			mustHold(t, sb, sales, "INBOX", graphLetter)
		})
	}
}
