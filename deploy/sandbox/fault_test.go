package sandbox_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"

	"mailporter/sandbox"
	"mailporter/sandbox/fault"
)

func ask(t *testing.T, sb *sandbox.Sandbox, client *http.Client) (answer, error) {
	t.Helper()
	resp, err := client.PostForm(entra(sb, tenantID), form("grant_type", "client_credentials", "client_id", service, "client_secret", secret, "scope", appOnly))
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{status: resp.StatusCode, header: resp.Header, raw: string(b)}, err
}

func TestIdentityFaults(t *testing.T) {
	tests := []struct {
		name  string
		rule  fault.Rule
		check func(a answer, err error) bool
	}{
		{"throttled", fault.Rule{Action: fault.Reply, AADSTS: 90055, RetryAfter: 17 * time.Second}, func(a answer, err error) bool {
			return err == nil && a.status == 429 && a.header.Get("Retry-After") == "17" && strings.Contains(a.raw, "AADSTS90055")
		}},
		{"unavailable", fault.Rule{Action: fault.Reply, Status: 503, Header: map[string]string{"Retry-After": "5"}}, func(a answer, err error) bool {
			return err == nil && a.status == 503 && a.header.Get("Retry-After") == "5"
		}},
		{"any number", fault.Rule{Action: fault.Reply, AADSTS: 53003}, func(a answer, err error) bool {
			return err == nil && a.status == 400 && strings.Contains(a.raw, "AADSTS53003") && !strings.Contains(a.raw, "%")
		}},
		{"number nobody knows", fault.Rule{Action: fault.Reply, AADSTS: 123456, Status: 401}, func(a answer, err error) bool {
			return err == nil && a.status == 401 && strings.Contains(a.raw, "AADSTS123456")
		}},
		{"html of a gateway", fault.Rule{Action: fault.Reply, Status: 502, Body: "<html>Bad Gateway</html>"}, func(a answer, err error) bool {
			return err == nil && a.status == 502 && a.header.Get("Content-Type") == "text/html" && strings.HasPrefix(a.raw, "<html>")
		}},
		{"slow", fault.Rule{Action: fault.Delay, Delay: 10 * time.Millisecond}, func(a answer, err error) bool {
			return err == nil && a.status == 200
		}},
		{"trickle", fault.Rule{Action: fault.Trickle, Delay: time.Microsecond, Bytes: 1000}, func(a answer, err error) bool {
			return err == nil && a.status == 200 && strings.Contains(a.raw, "access_token")
		}},
		{"trickle of an error", fault.Rule{Action: fault.Trickle, Delay: time.Microsecond, AADSTS: 53003}, func(a answer, err error) bool {
			return err == nil && a.status == 400 && strings.Contains(a.raw, "AADSTS53003")
		}},
		{"cut answer", fault.Rule{Action: fault.Cut, Bytes: 20}, func(a answer, err error) bool {
			return errors.Is(err, io.ErrUnexpectedEOF) && len(a.raw) == 20
		}},
		{"wrong date", fault.Rule{Action: fault.SkewDate, Skew: -time.Hour}, func(a answer, err error) bool {
			told, dateErr := http.ParseTime(a.header.Get("Date"))
			return err == nil && dateErr == nil && a.status == 200 && time.Since(told) > 59*time.Minute
		}},
		{"reset", fault.Rule{Action: fault.Reset}, func(_ answer, err error) bool { return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF) }},
		{"lost answer", fault.Rule{Action: fault.LoseAnswer}, func(_ answer, err error) bool {
			return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF)
		}},
		{"stalled", fault.Rule{Action: fault.Stall}, func(_ answer, err error) bool {
			var timeout net.Error
			return errors.As(err, &timeout) && timeout.Timeout()
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			sb := start(t, contoso())
			client := httpClient(t, sb)
			test.rule.Target, test.rule.Step, test.rule.Count = fault.Identity, "token", 1
			if test.rule.Action == fault.Stall {
				client.Timeout = 200 * time.Millisecond
			}
			id := sb.Faults().Add(test.rule)
			if a, err := ask(t, sb, client); !test.check(a, err) {
				t.Errorf("got %d %v %q, %v", a.status, a.header, a.raw, err)
			}
			client.Timeout = 0
			if a, err := ask(t, sb, client); err != nil || a.status != 200 {
				t.Errorf("after the fault: %d, %v", a.status, err)
			}
			if n := sb.Faults().Fired(id); n != 1 {
				t.Errorf("fired %d times", n)
			}
			if n := sb.TokenRequests().Total; n != 2 {
				t.Errorf("%d requests counted", n)
			}
		})
	}
}

func TestFaultsMatchClientAndUser(t *testing.T) {
	sb := start(t, contoso())
	sb.Faults().Add(fault.Rule{Target: fault.Identity, Client: public, Mailbox: strings.ToUpper(sales), Action: fault.Reply, AADSTS: 50076})
	appToken(t, sb, service)
	userToken(t, sb, support, imapScope)
	a := post(t, sb, entra(sb, tenantID), form("grant_type", "password", "client_id", public, "username", sales, "password", "pw", "scope", imapScope))
	if a.status != 400 || a.Codes[0] != 50076 {
		t.Errorf("got %s", a.raw)
	}
}

func TestIMAPFaults(t *testing.T) {
	big := "Subject: big\r\n\r\n" + strings.Repeat("x", 20000) + "\r\n"
	tests := []struct {
		name string
		rule fault.Rule
		// do runs behind login; connect and login faults have their own test.
		do func(w *wire)
	}{
		{"reply", fault.Rule{Step: "select", Action: fault.Reply, Text: "NO [UNAVAILABLE] Server Busy"}, func(w *wire) {
			w.send("c SELECT INBOX")
			w.want("c NO [UNAVAILABLE] Server Busy")
			w.send("d SELECT INBOX")
			w.want("d OK")
		}},
		{"throttled", fault.Rule{Step: "status", Action: fault.Reply, Text: "BAD Request is throttled. Suggested Backoff Time: 5 milliseconds"}, func(w *wire) {
			w.send("c STATUS INBOX (MESSAGES)")
			w.want("c BAD Request is throttled. Suggested Backoff Time: 5 milliseconds")
		}},
		{"bye", fault.Rule{Step: "fetch", Action: fault.Bye, Text: "Connection is closed. 13"}, func(w *wire) {
			w.send("c SELECT INBOX")
			w.want("c OK")
			w.send("d FETCH 1 BODY.PEEK[]")
			w.want("* BYE Connection is closed. 13")
			w.wantClosed()
		}},
		{"cut literal", fault.Rule{Step: "fetch", Action: fault.Cut, Bytes: 5000}, func(w *wire) {
			w.send("c SELECT INBOX")
			w.want("c OK")
			w.send("d FETCH 1 (UID BODY.PEEK[])")
			w.want("* 1 FETCH (UID 1 BODY[] {20018}")
			if rest, err := io.ReadAll(w.r); err != nil || len(rest) != 5000 {
				w.t.Errorf("%d bytes of the literal, %v", len(rest), err)
			}
		}},
		{"reset", fault.Rule{Step: "fetch", Action: fault.Reset}, func(w *wire) {
			w.send("c SELECT INBOX")
			w.want("c OK")
			w.send("d FETCH 1 BODY.PEEK[]")
			if _, err := io.ReadAll(w.r); !errors.Is(err, syscall.ECONNRESET) {
				w.t.Errorf("got %v", err)
			}
		}},
		{"lost answer", fault.Rule{Step: "move", Action: fault.LoseAnswer}, func(w *wire) {
			w.send("c SELECT INBOX")
			w.want("c OK")
			w.send("d MOVE 1 Archive")
			if _, err := io.ReadAll(w.r); !errors.Is(err, syscall.ECONNRESET) {
				w.t.Errorf("got %v", err)
			}
		}},
		{"renumbered", fault.Rule{Step: "select", Action: fault.Renumber}, func(w *wire) {
			w.send("c STATUS INBOX (UIDVALIDITY)")
			before := w.want("* STATUS")
			w.send("d SELECT INBOX")
			w.want("d OK")
			w.send("e STATUS INBOX (UIDVALIDITY)")
			if after := w.want("* STATUS"); after == before {
				w.t.Errorf("still %s", after)
			}
		}},
		{"slow", fault.Rule{Step: "list", Action: fault.Delay, Delay: 10 * time.Millisecond}, func(w *wire) {
			w.send(`c LIST "" *`)
			w.want("c OK")
		}},
		{"stalled", fault.Rule{Step: "list", Action: fault.Stall}, func(w *wire) {
			w.send(`c LIST "" *`)
			if err := w.conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
				w.t.Fatal(err)
			}
			var timeout net.Error
			if line, err := w.r.ReadString('\n'); !errors.As(err, &timeout) || !timeout.Timeout() {
				w.t.Errorf("got %q, %v", line, err)
			}
		}},
		{"stalled idle", fault.Rule{Step: "idle", Action: fault.Stall}, func(w *wire) {
			w.send("c SELECT INBOX")
			w.want("c OK")
			w.send("d IDLE")
			w.want("+ ")
			w.send("DONE")
			w.want("d OK")
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			sb := start(t, contoso())
			put(t, sb, support, big)
			test.rule.Target, test.rule.Count, test.rule.Mailbox = fault.IMAP, 1, support
			id := sb.Faults().Add(test.rule)
			w := dialWire(t, sb, sb.IMAPAddr())
			w.send("a AUTHENTICATE XOAUTH2 " + xoauth2(support, appToken(t, sb, service)))
			w.want("a OK")
			test.do(w)
			if n := sb.Faults().Fired(id); n != 1 {
				t.Errorf("fired %d times", n)
			}
		})
	}
}

func TestLostAnswerToMoveMoved(t *testing.T) {
	sb := start(t, contoso())
	put(t, sb, support, letter(1))
	sb.Faults().Add(fault.Rule{Target: fault.IMAP, Step: "move", Action: fault.LoseAnswer})
	c := openIMAP(t, sb, support, appToken(t, sb, service), nil)
	if _, err := c.Select("INBOX", nil).Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Move(imap.SeqSetNum(1), "Archive").Wait(); err == nil {
		t.Error("the client got an answer")
	}
	if f, err := sb.Store().Folder(support, "Archive"); err != nil || len(f.Messages) != 1 {
		t.Errorf("archive: %+v, %v", f, err)
	}
}

func TestGoodTokensRefusedOnDemand(t *testing.T) {
	sb := start(t, contoso())
	token := appToken(t, sb, service)
	sb.Faults().Add(fault.Rule{Target: fault.IMAP, Step: "authenticate", Client: service, Action: fault.RefuseToken, Count: 1})
	sb.Faults().Add(fault.Rule{Target: fault.SMTP, Step: "auth", Action: fault.RefuseToken, Count: 1})
	if got := textOf(dialIMAP(t, sb, sb.IMAPAddr(), nil).Authenticate(&bearer{user: support, token: token})); got != "AUTHENTICATE failed." {
		t.Errorf("imap: %q", got)
	}
	if got := replyOf(dialSMTP(t, sb).Auth(&bearer{user: support, token: token})); got != "535 5.7.3" {
		t.Errorf("smtp: %q", got)
	}
	openIMAP(t, sb, support, token, nil)
	openSMTP(t, sb, support, token)
}

func TestIMAPConnectFaults(t *testing.T) {
	sb := start(t, contoso())
	sb.Faults().Add(fault.Rule{Target: fault.IMAP, Step: "connect", Action: fault.Bye, Text: "Server Unavailable. 15", Count: 1})
	w := dialWire(t, sb, sb.IMAPAddr())
	w.want("* BYE Server Unavailable. 15")
	w.wantClosed()
	sb.Faults().Add(fault.Rule{Target: fault.IMAP, Step: "connect", Action: fault.Reply, Text: "BYE Too many", Count: 1})
	w = dialWire(t, sb, sb.IMAPAddr())
	w.want("* BYE Too many")
	w.wantClosed()
	dialWire(t, sb, sb.IMAPAddr()).want("* OK")
}

func TestSMTPFaults(t *testing.T) {
	tests := []struct {
		name   string
		rule   fault.Rule
		want   string // reply to the whole of MAIL, RCPT, DATA; "cut": the connection broke
		stored int
	}{
		{"mail 4xx", fault.Rule{Step: "mail", Action: fault.Reply, Text: "451 4.7.500 Server busy"}, "451 4.7.500", 0},
		{"rcpt 4xx", fault.Rule{Step: "rcpt", Action: fault.Reply, Text: "452 4.5.3 Too many recipients"}, "452 4.5.3", 0},
		{"data 5xx", fault.Rule{Step: "data", Action: fault.Reply, Text: "554 5.6.0 Content invalid"}, "554 5.6.0", 0},
		{"no enhanced code", fault.Rule{Step: "data", Action: fault.Reply, Text: "421 Service not available"}, "421 4.0.0", 0},
		{"reset before DATA is stored", fault.Rule{Step: "data", Action: fault.Reset}, "cut", 0},
		{"sent, answer lost", fault.Rule{Step: "accepted", Action: fault.LoseAnswer}, "cut", 1},
		{"sent, answer a 4xx", fault.Rule{Step: "accepted", Action: fault.Reply, Text: "451 4.3.0 lost it"}, "451 4.3.0", 1},
		{"reset at MAIL", fault.Rule{Step: "mail", Action: fault.Reset}, "cut", 0},
		{"slow", fault.Rule{Step: "data", Action: fault.Delay, Delay: 10 * time.Millisecond}, "", 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			sb := start(t, contoso())
			test.rule.Target, test.rule.Count = fault.SMTP, 1
			sb.Faults().Add(test.rule)
			err := send(openSMTP(t, sb, support, appToken(t, sb, service)), support, letter(1), sales)
			got := replyOf(err)
			if test.want == "cut" && (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF) || errors.Is(err, syscall.EPIPE)) {
				got = "cut"
			}
			if got != test.want {
				t.Errorf("got %q (%v), want %q", got, err, test.want)
			}
			if f, _ := sb.Store().Folder(sales, "INBOX"); len(f.Messages) != test.stored {
				t.Errorf("%d messages stored, want %d", len(f.Messages), test.stored)
			}
			if err := send(openSMTP(t, sb, support, appToken(t, sb, service)), support, letter(2), sales); err != nil {
				t.Errorf("after the fault: %v", err)
			}
		})
	}
}

func TestStalledSMTPEndsWithTheSandbox(t *testing.T) {
	sb := start(t, contoso())
	sb.Faults().Add(fault.Rule{Target: fault.SMTP, Step: "mail", Action: fault.Stall})
	c := openSMTP(t, sb, support, appToken(t, sb, service))
	done := make(chan error, 1)
	go func() { done <- c.Mail(support, nil) }()
	select {
	case err := <-done:
		t.Errorf("answered: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	if err := sb.Close(); err != nil {
		t.Error(err)
	}
	if err := <-done; err == nil {
		t.Error("no error")
	}
}
