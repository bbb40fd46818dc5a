package smtp_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"mailporter/kit/certtest"
	"mailporter/kit/secret"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/inbound/inboundtest"
	"mailporter/workers/internal/intake"
	"mailporter/workers/internal/intake/smtp"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/outbound/outboundtest"
)

func TestTakesMail(t *testing.T) {
	d := open(t, smtp.Config{Hostname: "mail.example"})
	c := dial(t, d.address)
	if got := c.want("220 "); got != "220 mail.example ESMTP Mailporter\r\n" {
		t.Errorf("greeting %q", got)
	}
	offers := c.do("EHLO me", "250 ")
	for _, word := range []string{"PIPELINING", "SIZE 157286400", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"} {
		if !strings.Contains(offers, word+"\r\n") {
			t.Errorf("%s is not offered: %q", word, offers)
		}
	}
	if strings.Contains(offers, "STARTTLS") || strings.Contains(offers, "AUTH") {
		t.Errorf("offers what it has not: %q", offers)
	}
	c.do("MAIL FROM:<support@contoso.example> SIZE=20 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=QQ+2B1", "250 ")
	c.do("RCPT TO:<ann@elsewhere.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+2Bb@c", "250 ")
	c.do(`RCPT TO:<"a b"@elsewhere.example>`, "250 ")
	c.do("RCPT TO:<süd@elsewhere.example>", "250 ")
	c.do("RCPT TO:<ann@elsewhere.example>", "250 ") // again: one copy
	c.do("DATA", "354 ")
	c.send("Subject: x\r\n\r\nx\r\n.\r\n")
	c.want("250 2.0.0 Queued as 1")
	c.do("QUIT", "221 ")
	c.closed()
	bodies, jobs := d.taken(t)
	if len(jobs) != 1 {
		t.Fatalf("%d messages", len(jobs))
	}
	mustEqual(t, bodies[0], "Subject: x\r\n\r\nx\r\n")
	want := mail.Envelope{
		From: support, Return: "HDRS", ID: "QQ+2B1", EightBit: true, UTF8: true,
		Recipients: []mail.Recipient{
			{Address: ann, Notify: "SUCCESS,DELAY", Original: "rfc822;a+2Bb@c"}, {Address: `"a b"@elsewhere.example`}, {Address: "süd@elsewhere.example"},
		},
	}
	if !reflect.DeepEqual(jobs[0].Envelope, want) || jobs[0].Mailbox != "Support@contoso.example" {
		t.Errorf("%s %+v", jobs[0].Mailbox, jobs[0].Envelope)
	}
}

func TestBytesAreKept(t *testing.T) {
	d := open(t, smtp.Config{})
	c := greeted(t, d)
	var want []string
	for _, m := range []string{
		"", "\r\n", ".\r\n", "..\r\n.\r\n", "a\r\n.\r\n\r\n..b\r\n", "caf\xe9 \x00\xff\r\n", strings.Repeat("x", 300_000) + "\r\n",
		strings.Repeat("x", 65_535) + "\r\n", strings.Repeat("x", 65_534) + "\r\n.y\r\n", strings.Repeat(".", 200_000) + "\r\n",
		strings.Repeat("0123456789\r\n", 100_000), "QUIT\r\nRSET\r\n",
	} {
		want = append(want, m)
		c.begin(support)
		c.send(stuff(m))
		c.want("250 ")
	}
	bodies, _ := d.taken(t)
	if len(bodies) != len(want) {
		t.Fatalf("%d messages, want %d", len(bodies), len(want))
	}
	for i := range want {
		mustEqual(t, bodies[i], want[i])
	}
}

// TestAwkward: each awkward message that SMTP can carry is taken byte for byte, or refused for its line ends.
func TestAwkward(t *testing.T) {
	d := open(t, smtp.Config{})
	want := map[string]bool{}
	for name, raw := range inboundtest.Awkward() {
		if len(raw) > 0 && !bytes.HasSuffix(raw, []byte("\r\n")) {
			continue // DATA ends with a line end
		}
		c := greeted(t, d)
		c.begin(support)
		c.send(stuff(string(raw)))
		if inboundtest.Lone(raw) {
			c.want("550 5.6.11")
			continue
		}
		if reply := c.reply(); !strings.HasPrefix(reply, "250 ") {
			t.Errorf("%s: %s", name, reply)
		}
		want[string(raw)] = true
	}
	bodies, _ := d.taken(t)
	for _, b := range bodies {
		if !want[string(b)] {
			t.Errorf("%d bytes that nobody sent: %.60q", len(b), b)
		}
	}
	if len(bodies) != len(want) || len(want) < 10 {
		t.Errorf("%d messages, want %d", len(bodies), len(want))
	}
}

func TestPipelining(t *testing.T) {
	d := open(t, smtp.Config{})
	c := greeted(t, d)
	one := "MAIL FROM:<" + support + ">\r\nRCPT TO:<" + ann + ">\r\nRCPT TO:<x>\r\nDATA\r\n"
	c.send(one)
	for _, want := range []string{"250 ", "250 ", "501 ", "354 "} {
		c.want(want)
	}
	c.send("x\r\n.\r\n" + one)
	for _, want := range []string{"250 ", "250 ", "250 ", "501 ", "354 "} {
		c.want(want)
	}
	c.send("y\r\n.\r\nQUIT\r\n")
	c.want("250 ")
	c.want("221 ")
	if bodies, _ := d.taken(t); len(bodies) != 2 {
		t.Errorf("%d messages", len(bodies))
	}
}

// What one server takes for a line end and another does not is how mail is smuggled.
func TestLoneLineEndsAreRefused(t *testing.T) {
	const smuggled = "MAIL FROM:<" + support + ">\r\nRCPT TO:<" + ann + ">\r\nDATA\r\nsmuggled\r\n.\r\n"
	for name, m := range map[string]string{
		"LF":                   "a\nb\r\n.\r\n",
		"CR":                   "a\rb\r\n.\r\n",
		"CR CR LF":             "a\r\r\n.\r\n",
		"LF at the start":      "\na\r\n.\r\n",
		"CR at the end":        "a\r\r\n.\r\n",
		"dot and CR":           ".\rX\r\n.\r\n",
		"LF dot LF":            "a\n.\n" + smuggled,
		"LF dot CRLF":          "a\n.\r\n" + smuggled,
		"CRLF dot LF":          "a\r\n.\n" + smuggled,
		"CR dot CR":            "a\r.\r" + smuggled,
		"beyond the buffer":    strings.Repeat("x", 65_536) + "\n" + "b\r\n.\r\n",
		"CR before the buffer": strings.Repeat("x", 65_535) + "\rb\r\n.\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t, smtp.Config{})
			c := greeted(t, d)
			c.begin(support)
			c.send(m)
			c.want("550 5.6.11")
			if bodies, _ := d.taken(t); len(bodies) != 0 {
				t.Errorf("took %q", bodies)
			}
		})
	}
}

// Whatever else is wrong with a message: its end is where everybody sees it, and what follows another dot is not believed.
func TestNothingIsSmuggledBehindARefusal(t *testing.T) {
	for name, c := range map[string]struct {
		outbox intake.Outbox
		send   string
		want   string
	}{
		"too large":     {&outboundtest.Memory{}, strings.Repeat("x", 1000) + "\r\n.\n", "552 5.3.4"},
		"a loop":        {&outboundtest.Memory{}, strings.Repeat("Received: x\r\n", 4) + ".\n", "554 5.4.6"},
		"broken outbox": {broken{}, "Subject: x\r\n.\n", "451 4.3.0"},
	} {
		t.Run(name, func(t *testing.T) {
			senders := &intake.Senders{}
			senders.Set(mailboxes())
			x := greeted(t, openOver(t, smtp.Config{Rules: intake.Rules{MaxSize: 900, MaxHops: 3}}, c.outbox, senders))
			x.begin(support)
			x.send(c.send + "MAIL FROM:<" + support + ">\r\n")
			x.want(c.want)
			x.closed()
		})
	}
}

// A listener for programs that write text may mend their line ends. What a server passes on that ends its own lines properly
// cannot use that to smuggle mail.
func TestMendedLineEnds(t *testing.T) {
	for name, c := range map[string]struct{ send, want string }{
		"all LF":               {"Subject: x\n\n..a\nb\n.\n", "Subject: x\r\n\r\n.a\r\nb\r\n"},
		"LF, and a proper dot": {"Subject: x\n\na\n.\r\n", "Subject: x\r\n\r\na\r\n"},
		"LF, CRLF before dot":  {"Subject: x\n\na\n\r\n.\r\n", "Subject: x\r\n\r\na\r\n\r\n"},
		"header CRLF, body LF": {"Subject: x\r\n\r\na\nb\n\r\n.\r\n", "Subject: x\r\n\r\na\r\nb\r\n\r\n"},
		"all CRLF":             {"Subject: x\r\n\r\na\r\n.\r\n", "Subject: x\r\n\r\na\r\n"},
		"empty":                {".\n", ""},
		"beyond the buffer":    {strings.Repeat("x", 65_536) + "\nb\n.\n", strings.Repeat("x", 65_536) + "\r\nb\r\n"},
		"CRLF, LF dot LF":      {"a: b\r\n\n.\n", "refused"},
		"CRLF, LF dot CRLF":    {"a: b\r\n\n.\r\n", "refused"},
		"CRLF dot LF":          {"a: b\r\n.\n", "refused"},
		"CR":                   {"a\rb\r\n.\r\n", "refused"},
		"CR CR LF":             {"a\r\r\n.\r\n", "refused"},
		"CR dot CR":            {"a\r.\r\n.\r\n", "refused"},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t, smtp.Config{MendLineEnds: true})
			x := greeted(t, d)
			x.begin(support)
			x.send(c.send)
			if c.want == "refused" {
				x.want("550 5.6.11")
				x.closed()
				return
			}
			x.want("250 ")
			bodies, _ := d.taken(t)
			if len(bodies) != 1 {
				t.Fatalf("%d messages", len(bodies))
			}
			mustEqual(t, bodies[0], c.want)
		})
	}
}

func TestSenders(t *testing.T) {
	for from, want := range map[string]string{
		support:                     "Support@contoso.example",
		"SUPPORT@Contoso.Example":   "Support@contoso.example",
		"help@contoso.example":      "Support@contoso.example",
		"anybody@old.example":       "Support@contoso.example",
		"sales@contoso.example":     "sales@contoso.example",
		"stranger@contoso.example":  "",
		"support@contoso.example.x": "",
		"support":                   "",
		"":                          "",
	} {
		t.Run(from, func(t *testing.T) {
			d := open(t, smtp.Config{})
			c := greeted(t, d)
			c.send("MAIL FROM:<" + from + ">\r\n")
			reply := c.reply()
			if want == "" {
				if !strings.HasPrefix(reply, "550 5.7.1 ") && from != "support" || from == "support" && !strings.HasPrefix(reply, "501 ") {
					t.Errorf("reply %q", reply)
				}
				c.do("RCPT TO:<"+ann+">", "503 ")
				return
			}
			c.do("RCPT TO:<"+ann+">", "250 ")
			c.do("DATA", "354 ")
			c.send("x\r\n.\r\n")
			c.want("250 ")
			if _, jobs := d.taken(t); len(jobs) != 1 || jobs[0].Mailbox != want || jobs[0].Envelope.From != from {
				t.Errorf("jobs %+v", jobs)
			}
		})
	}
}

func TestNullSenderOfAMailbox(t *testing.T) {
	d := open(t, smtp.Config{Rules: intake.Rules{NullSender: support}})
	c := greeted(t, d)
	c.begin("")
	c.send("x\r\n.\r\n")
	c.want("250 ")
	if _, jobs := d.taken(t); len(jobs) != 1 || jobs[0].Mailbox != "Support@contoso.example" || jobs[0].Envelope.From != "" {
		t.Errorf("jobs %+v", jobs)
	}
}

// Until the broker has answered nobody knows who may send: that is no reason to refuse for good.
func TestSendersNotKnownYet(t *testing.T) {
	d := openOver(t, smtp.Config{}, &outboundtest.Memory{}, &intake.Senders{})
	greeted(t, d).do("MAIL FROM:<"+support+">", "451 4.3.0")
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct{ name, send, want string }{
		{"mail before hello", "MAIL FROM:<" + support + ">", "503 5.5.1"},
		{"no such command", "XYZ", "500 5.5.1"},
		{"hello without name", "EHLO", "250 "},
		{"helo without name", "HELO", "250 localhost"},
		{"help", "HELP", "214 2.0.0"},
		{"lists", "EXPN staff", "502 5.5.1"},
		{"starttls without certificate", "STARTTLS", "502 5.5.1"},
		{"auth without users", "AUTH PLAIN AAAA", "502 5.5.1"},
		{"data before rcpt", "EHLO me\r\nMAIL FROM:<" + support + ">\r\nDATA", "503 5.5.1"},
		{"rcpt before mail", "EHLO me\r\nRCPT TO:<" + ann + ">", "503 5.5.1"},
		{"mail twice", "EHLO me\r\nMAIL FROM:<" + support + ">\r\nMAIL FROM:<" + support + ">", "503 5.5.1"},
		{"no brackets", "EHLO me\r\nMAIL FROM:" + support, "250 "},
		{"no brackets, no address", "EHLO me\r\nMAIL FROM:scanner", "501 5.1.7"},
		{"display name", "EHLO me\r\nMAIL FROM:\"Me\" <" + support + ">", "501 5.1.7"},
		{"no domain", "EHLO me\r\nMAIL FROM:<" + support + ">\r\nRCPT TO:<postmaster>", "501 5.1.3"},
		{"parameter with a CR", "EHLO me\r\nMAIL FROM:<" + support + "> X\rY=1", "501 5.5.4"},
		{"no UTF-8", "EHLO me\r\nMAIL FROM:<" + support + "> SMTPUTF8\r\nRCPT TO:<\xff@old.example>", "501 5.1.3"},
		{"endless ENVID", "EHLO me\r\nMAIL FROM:<" + support + "> ENVID=" + strings.Repeat("x", 101), "501 5.5.4"},
		{"endless ORCPT", "EHLO me\r\nMAIL FROM:<" + support + ">\r\nRCPT TO:<" + ann + "> ORCPT=rfc822;" + strings.Repeat("x", 500), "501 5.5.4"},
		{"ORCPT without type", "EHLO me\r\nMAIL FROM:<" + support + ">\r\nRCPT TO:<" + ann + "> ORCPT=x", "501 5.5.4"},
		{"ORCPT in UTF-8", "EHLO me\r\nMAIL FROM:<" + support + "> SMTPUTF8\r\nRCPT TO:<" + ann + "> ORCPT=utf-8;s\u00fcd@old.example", "250 "},
		{"NOTIFY again and again", "EHLO me\r\nMAIL FROM:<" + support + ">\r\nRCPT TO:<" + ann + "> NOTIFY=DELAY,DELAY,DELAY,DELAY", "501 5.5.4"},
		{"unknown parameter", "EHLO me\r\nMAIL FROM:<" + support + "> X=1", "555 5.5.4"},
		{"too large", "EHLO me\r\nMAIL FROM:<" + support + "> SIZE=1001", "552 5.3.4"},
		{"size is no number", "EHLO me\r\nMAIL FROM:<" + support + "> SIZE=-1", "501 5.5.4"},
		{"binary", "EHLO me\r\nMAIL FROM:<" + support + "> BODY=BINARYMIME", "501 5.5.4"},
		{"bad RET", "EHLO me\r\nMAIL FROM:<" + support + "> RET=SOME", "501 5.5.4"},
		{"UTF-8 sender", "EHLO me\r\nMAIL FROM:<süd@old.example>", "550 5.6.7"},
		{"UTF-8 recipient", "EHLO me\r\nMAIL FROM:<" + support + ">\r\nRCPT TO:<süd@old.example>", "553 5.6.7"},
		{"null recipient", "EHLO me\r\nMAIL FROM:<" + support + ">\r\nRCPT TO:<>", "501 5.5.4"},
		{"bad NOTIFY", "EHLO me\r\nMAIL FROM:<" + support + ">\r\nRCPT TO:<" + ann + "> NOTIFY=NEVER,DELAY", "501 5.5.4"},
		{"unknown recipient parameter", "EHLO me\r\nMAIL FROM:<" + support + ">\r\nRCPT TO:<" + ann + "> X", "555 5.5.4"},
		{"one recipient too many", "EHLO me\r\nMAIL FROM:<" + support + ">\r\nRCPT TO:<a@x>\r\nRCPT TO:<b@x>\r\nRCPT TO:<c@x>", "452 4.5.3"},
		{"data with argument", "EHLO me\r\nMAIL FROM:<" + support + ">\r\nRCPT TO:<a@x>\r\nDATA now", "501 5.5.4"},
		{"reset forgets", "EHLO me\r\nMAIL FROM:<" + support + ">\r\nRSET\r\nRCPT TO:<a@x>", "503 5.5.1"},
		{"verify", "VRFY x", "252 "},
		{"noop", "NOOP", "250 "},
		{"helo", "HELO me", "250 localhost"},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := open(t, smtp.Config{Rules: intake.Rules{MaxSize: 1000, MaxRecipients: 2}})
			x := dial(t, d.address)
			x.want("220 ")
			x.send(c.send + "\r\n")
			for range strings.Count(c.send, "\r\n") {
				x.want("250 ")
			}
			x.want(c.want)
		})
	}
}

func TestTooLarge(t *testing.T) {
	d := open(t, smtp.Config{Rules: intake.Rules{MaxSize: 1000}})
	c := greeted(t, d)
	c.begin(support)
	c.send(strings.Repeat("x", 999) + "\r\n" + strings.Repeat("y\r\n", 100_000) + ".\r\n")
	c.want("552 5.3.4")
	c.begin(support)
	c.send(strings.Repeat("x", 998) + "\r\n.\r\n") // 1000 bytes just fit
	c.want("250 ")
	if bodies, _ := d.taken(t); len(bodies) != 1 {
		t.Errorf("%d messages", len(bodies))
	}
}

func TestLoop(t *testing.T) {
	d := open(t, smtp.Config{Rules: intake.Rules{MaxHops: 2}})
	c := greeted(t, d)
	for n, want := range map[int]string{2: "250 ", 3: "554 5.4.6"} {
		c.begin(support)
		c.send(strings.Repeat("Received: from x\r\n by y\r\n", n) + "Subject: x\r\n\r\nreceived: not a header\r\n.\r\n")
		c.want(want)
	}
}

func TestTooManyErrors(t *testing.T) {
	c := greeted(t, open(t, smtp.Config{}))
	for range 10 {
		c.do("XYZ", "500 ")
	}
	c.do("XYZ", "500 ")
	c.want("421 4.7.0")
	c.closed()
}

// The client is still sending when it is hung up on. It must hear why, and no reset instead.
func TestLastWords(t *testing.T) {
	d := open(t, smtp.Config{})
	for name, send := range map[string]string{
		"smuggled":     "Subject: x\r\n.\nMAIL FROM:<" + support + ">\r\n",
		"lone LF":      "Subject: x\n\n.\n",
		"other speech": "\r\n.\r\nGET / HTTP/1.1\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			c := greeted(t, d)
			c.begin(support)
			c.send(send)
			for range 20 {
				c.send(strings.Repeat("RSET\r\n", 1000))
			}
			if half, ok := c.conn.(*net.TCPConn); !ok || half.CloseWrite() != nil {
				t.Error("close")
			}
			if name == "other speech" {
				c.want("250 ")
			}
			c.want("5")
			c.closed()
		})
	}
}

// A program with a list of recipients and a connection that it keeps open errs now and then for ever.
func TestFewErrorsAmongManyMessages(t *testing.T) {
	c := greeted(t, open(t, smtp.Config{}))
	for range 5 {
		c.do("MAIL FROM:<"+support+">", "250 ")
		for range 20 {
			c.do("RCPT TO:<nonsense>", "501 5.1.3")
		}
		for range 5 {
			c.do("XYZ", "500 ")
		}
		c.do("RCPT TO:<"+ann+">", "250 ")
		c.do("DATA", "354 ")
		c.send("Subject: x\r\n\r\n.\r\n")
		c.want("250 ")
	}
}

// A device that sends everything at once, whatever it is told, must not have the text of its message taken for commands.
func TestBlindClient(t *testing.T) {
	d := open(t, smtp.Config{})
	c := dial(t, d.address)
	c.want("220 ")
	c.send("HELO\r\nMAIL FROM:<nobody@contoso.example>\r\nRCPT TO:<" + ann + ">\r\nDATA\r\nSubject: alarm\r\n\r\nRSET\r\nMAIL FROM:<" + support +
		">\r\nRCPT TO:<" + ann + ">\r\nDATA\r\nof a stranger\r\n.\r\nQUIT\r\n")
	for _, want := range []string{"250 ", "550 5.7.1", "503 ", "503 ", "500 5.5.1 This is a message"} {
		c.want(want)
	}
	c.closed()
	if bodies, _ := d.taken(t); len(bodies) != 0 {
		t.Errorf("took %q", bodies)
	}
}

// A form that a browser posts must not become a message.
func TestHTTP(t *testing.T) {
	d := open(t, smtp.Config{})
	c := dial(t, d.address)
	c.want("220 ")
	c.send("POST / HTTP/1.1\r\nHost: me\r\n\r\nEHLO me\r\n")
	c.want("500 5.5.1")
	c.closed()
}

func TestEndlessLine(t *testing.T) {
	c := greeted(t, open(t, smtp.Config{}))
	c.send("NOOP " + strings.Repeat("x", 9000) + "\r\n")
	c.want("500 5.5.2")
	c.closed()
}

func TestSilenceEndsASession(t *testing.T) {
	c := greeted(t, open(t, smtp.Config{Idle: 50 * time.Millisecond}))
	c.want("421 4.4.2")
	c.closed()
}

// Few devices show what they are told, so the operator must find it in the log; who writes to whom is not his affair.
func TestRefusalsAreLogged(t *testing.T) {
	for _, c := range []struct{ name, send, reason string }{
		{"sender", "MAIL FROM:<nobody@contoso.example>\r\n", "SENDER_UNKNOWN"},
		{"line ends", "MAIL FROM:<" + support + ">\r\nRCPT TO:<" + ann + ">\r\nDATA\r\nx\n.\r\n", "LONE_LINE_END"},
		{"stranger", "MAIL FROM:<" + support + ">\r\n", "NOT_LOGGED_IN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var log logged
			config := smtp.Config{Log: slog.New(slog.NewJSONHandler(&log, nil))}
			if c.reason == "NOT_LOGGED_IN" {
				config.Allow = []netip.Prefix{}
			}
			d := open(t, config)
			x := greeted(t, d)
			x.send(c.send + "QUIT\r\n")
			for range strings.Count(c.send, "RCPT") * 3 {
				x.reply()
			}
			x.want("5")
			d.stop()
			if text := log.text.String(); !strings.Contains(text, `"reason":"`+c.reason+`"`) || strings.Contains(text, "@") {
				t.Errorf("the log has %s", text)
			}
		})
	}
}

// Whoever may not submit must not keep those out who may, however busy he is.
func TestStrangersLeave(t *testing.T) {
	d := open(t, smtp.Config{Allow: []netip.Prefix{}, LoginWithin: 20 * time.Millisecond})
	c := dial(t, d.address)
	c.want("220 ")
	for last := ""; !strings.HasPrefix(last, "421 4.7.0 Not logged in"); {
		c.send("NOOP\r\n")
		last = c.reply()
	}
	c.closed()
}

// However many strangers there are, there is room for those who may submit; who logs in is no stranger any more.
func TestStrangersLeaveRoom(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(password), 0o600); err != nil {
		t.Fatal(err)
	}
	d := open(t, smtp.Config{Allow: []netip.Prefix{}, MaxSessions: 4, Users: []smtp.User{{Name: "crm", Password: secret.Ref{File: file}}}})
	one, two := greeted(t, d), greeted(t, d)
	dial(t, d.address).want("421 4.7.0 Too many connections")
	login := "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00crm\x00"+password))
	one.do(login, "235 ")
	two.do(login, "235 ")
	greeted(t, d)
	one.begin(support)
}

// Whoever may submit has all the time that he needs.
func TestWhoIsKnownStays(t *testing.T) {
	d := open(t, smtp.Config{LoginWithin: time.Nanosecond})
	c := greeted(t, d)
	c.begin(support)
	c.send(".\r\n")
	c.want("250 ")
}

func TestTooManySessions(t *testing.T) {
	var log logged
	d := open(t, smtp.Config{MaxSessions: 1, Log: slog.New(slog.NewJSONHandler(&log, nil))})
	greeted(t, d)
	for range 3 {
		dial(t, d.address).want("421 4.7.0 Too many connections")
	}
	d.stop()
	if n := strings.Count(log.text.String(), "turning clients away"); n != 1 {
		t.Errorf("%d lines in the log, want one", n)
	}
}

// broken is an outbox that takes nothing.
type broken struct{ read bool }

func (b broken) Add(_ context.Context, s outbound.Submission) (string, error) {
	if b.read {
		_, _ = io.Copy(io.Discard, s.Body)
	}
	return "", errors.New("no space left")
}

func TestOutboxFails(t *testing.T) {
	for _, read := range []bool{true, false} {
		t.Run(fmt.Sprint("body read: ", read), func(t *testing.T) {
			senders := &intake.Senders{}
			senders.Set(mailboxes())
			d := openOver(t, smtp.Config{}, broken{read}, senders)
			c := greeted(t, d)
			for range 2 { // the connection goes on
				c.begin(support)
				c.send(strings.Repeat("x\r\n", 100_000) + ".\r\n")
				c.want("451 4.3.0")
			}
		})
	}
}

// TestOutboxRefuses: what the store will never keep is not to be tried again.
func TestOutboxRefuses(t *testing.T) {
	box := &outboundtest.Memory{Before: func(string) error { return fault.Newf(fault.Permanent, "the message has more than 9 bytes") }}
	senders := &intake.Senders{}
	senders.Set(mailboxes())
	c := greeted(t, openOver(t, smtp.Config{}, box, senders))
	c.begin(support)
	c.send("x\r\n.\r\n")
	c.want("552 5.3.4 The outbox does not take it: the message has more than 9 bytes")
}

func TestClientBreaksOff(t *testing.T) {
	d := open(t, smtp.Config{})
	c := greeted(t, d)
	c.begin(support)
	c.send("Subject: x\r\n")
	_ = c.conn.Close()
	d.stop() // waits for the session
	if bodies, _ := d.taken(t); len(bodies) != 0 {
		t.Errorf("took %q", bodies)
	}
}

func TestDrain(t *testing.T) {
	d := open(t, smtp.Config{})
	idle, busy := greeted(t, d), greeted(t, d)
	busy.begin(support)
	busy.send("Subject: x\r\n")
	stopped := make(chan struct{})
	go func() { defer close(stopped); d.stop() }()
	idle.want("421 4.3.2")
	idle.closed()
	busy.send("\r\nx\r\n.\r\n")
	busy.want("250 2.0.0 Queued")
	busy.want("421 4.3.2")
	busy.closed()
	<-stopped
	if bodies, _ := d.taken(t); len(bodies) != 1 {
		t.Errorf("%d messages", len(bodies))
	}
	if c, err := net.Dial("tcp", d.address); err == nil {
		_ = c.Close()
		t.Error("still listening")
	}
}

func TestAllowList(t *testing.T) {
	for name, c := range map[string]struct {
		allow []netip.Prefix
		want  string
	}{
		"default":  {nil, "250 "},
		"listed":   {[]netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, "250 "},
		"unlisted": {[]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, "530 5.7.0"},
		"nobody":   {[]netip.Prefix{}, "530 5.7.0"},
	} {
		t.Run(name, func(t *testing.T) {
			greeted(t, open(t, smtp.Config{Allow: c.allow})).do("MAIL FROM:<"+support+">", c.want)
		})
	}
}

const password = "correct-horse-battery-staple"

// logged collects the log, in which no password may be.
type logged struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func TestAuth(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var log logged
	d := open(t, smtp.Config{
		Allow: []netip.Prefix{}, Log: slog.New(slog.NewJSONHandler(&log, nil)), Penalty: time.Nanosecond,
		Users: []smtp.User{{Name: "crm", Password: secret.Ref{File: file}, Senders: []string{"*@contoso.example"}}, {Name: "broken", Password: secret.Ref{File: file + "x"}}},
	})
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for _, c := range []struct {
		name string
		say  []string // line, wanted reply, ...
		in   bool
	}{
		{"plain", []string{"AUTH PLAIN " + b64("\x00crm\x00"+password), "235 "}, true},
		{"plain on two lines", []string{"AUTH PLAIN", "334 ", b64("\x00crm\x00" + password), "235 "}, true},
		{"login", []string{"AUTH LOGIN", "334 " + b64("Username:"), b64("crm"), "334 " + b64("Password:"), b64(password), "235 "}, true},
		{"login with user", []string{"AUTH LOGIN " + b64("crm"), "334 ", b64(password), "235 "}, true},
		{"lower case", []string{"auth plain " + b64("\x00crm\x00"+password), "235 "}, true},
		{"wrong password", []string{"AUTH PLAIN " + b64("\x00crm\x00no"), "535 5.7.8"}, false},
		{"wrong user", []string{"AUTH PLAIN " + b64("\x00CRM2\x00"+password), "535 5.7.8"}, false},
		{"user whose password cannot be read", []string{"AUTH PLAIN " + b64("\x00broken\x00"), "535 5.7.8"}, false},
		{"empty", []string{"AUTH PLAIN =", "501 "}, false},
		{"no base64", []string{"AUTH PLAIN *x*", "501 "}, false},
		{"cancelled", []string{"AUTH LOGIN", "334 ", "*", "501 "}, false},
		{"unknown", []string{"AUTH CRAM-MD5", "504 "}, false},
		{"twice", []string{"AUTH PLAIN " + b64("\x00crm\x00"+password), "235 ", "AUTH PLAIN", "503 "}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			x := dial(t, d.address)
			x.want("220 ")
			if offers := x.do("EHLO me", "250 "); !strings.Contains(offers, "AUTH PLAIN LOGIN\r\n") {
				t.Errorf("offers %q", offers)
			}
			for i := 0; i < len(c.say); i += 2 {
				x.do(c.say[i], c.say[i+1])
			}
			want := "530 5.7.0"
			if c.in {
				want = "250 "
			}
			x.do("MAIL FROM:<"+support+">", want)
			if c.in {
				x.do("RSET", "250 ")
				x.do("MAIL FROM:<anybody@old.example>", "550 5.7.1 This submitter may not send as this address")
			}
		})
	}
	log.mu.Lock()
	defer log.mu.Unlock()
	if strings.Contains(log.text.String(), password) || strings.Contains(log.text.String(), b64(password)) {
		t.Error("the log shows a password")
	}
}

// Guessing passwords is slow, and ends soon.
func TestGuessing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(password), 0o600); err != nil {
		t.Fatal(err)
	}
	const penalty = 20 * time.Millisecond
	d := open(t, smtp.Config{Users: []smtp.User{{Name: "crm", Password: secret.Ref{File: file}}}, Penalty: penalty})
	c := greeted(t, d)
	began := time.Now()
	for range 4 {
		c.do("AUTH PLAIN "+base64.StdEncoding.EncodeToString([]byte("\x00crm\x00guess")), "535 5.7.8")
	}
	c.want("421 4.7.0")
	c.closed()
	if took := time.Since(began); took < 4*penalty {
		t.Errorf("four guesses took %v", took)
	}
}

// certificates are a server's and a client's of the same authority.
func certificates(t *testing.T) (server, client tls.Certificate, pool *x509.CertPool) {
	t.Helper()
	ca, err := certtest.NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	issue := func(o certtest.Options) tls.Certificate {
		pair, err := ca.Issue(o)
		if err != nil {
			t.Fatal(err)
		}
		c, err := pair.TLS()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	return issue(certtest.Options{CommonName: "door", DNS: []string{"localhost"}}), issue(certtest.Options{CommonName: "crm"}), ca.Pool()
}

func TestTLS(t *testing.T) {
	server, client, pool := certificates(t)
	for name, c := range map[string]struct {
		implicit bool
		show     []tls.Certificate
		want     string
	}{
		"starttls":                       {false, nil, "530 5.7.0"},
		"starttls with certificate":      {false, []tls.Certificate{client}, "250 "},
		"from the start":                 {true, nil, "530 5.7.0"},
		"from the start and certificate": {true, []tls.Certificate{client}, "250 "},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t, smtp.Config{
				Allow: []netip.Prefix{}, ImplicitTLS: c.implicit,
				TLS: &tls.Config{Certificates: []tls.Certificate{server}, ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven},
			})
			conn, err := net.Dial("tcp", d.address)
			if err != nil {
				t.Fatal(err)
			}
			secured := tls.Client(conn, &tls.Config{RootCAs: pool, ServerName: "localhost", Certificates: c.show})
			t.Cleanup(func() { _ = secured.Close() })
			if !c.implicit {
				plain := speak(t, conn)
				plain.want("220 ")
				if offers := plain.do("EHLO me", "250 "); !strings.Contains(offers, "STARTTLS\r\n") {
					t.Errorf("offers %q", offers)
				}
				plain.do("STARTTLS", "220 ")
			}
			x := speak(t, secured)
			if c.implicit {
				x.want("220 ")
			}
			x.do("MAIL FROM:<"+support+">", "503 ") // what was said before counts no more
			if offers := x.do("EHLO me", "250 "); strings.Contains(offers, "STARTTLS") {
				t.Errorf("offers %q", offers)
			}
			x.do("MAIL FROM:<"+support+">", c.want)
		})
	}
}

// TestClients: of those with a good certificate only the listed ones submit, and only as whom they may.
func TestClients(t *testing.T) {
	server, client, pool := certificates(t)
	for name, c := range map[string]struct {
		clients       intake.Clients
		sales, others string
	}{
		"all":     {nil, "250 ", "250 "},
		"listed":  {intake.Clients{{Name: "crm", Senders: []string{"sales@contoso.example"}}}, "250 ", "550 5.7.1 This submitter"},
		"another": {intake.Clients{{Name: "scanner"}}, "530 5.7.0", "530 5.7.0"},
	} {
		t.Run(name, func(t *testing.T) {
			d := open(t, smtp.Config{
				Allow: []netip.Prefix{}, ImplicitTLS: true, Clients: c.clients,
				TLS: &tls.Config{Certificates: []tls.Certificate{server}, ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven},
			})
			conn, err := tls.Dial("tcp", d.address, &tls.Config{RootCAs: pool, ServerName: "localhost", Certificates: []tls.Certificate{client}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
			x := speak(t, conn)
			x.want("220 ")
			x.do("EHLO me", "250 ")
			for from, want := range map[string]string{support: c.others, "sales@contoso.example": c.sales} {
				x.do("MAIL FROM:<"+from+">", want)
				x.do("RSET", "250 ")
			}
		})
	}
}

// Commands that were slipped in behind STARTTLS in the clear must not count within TLS.
func TestInjectionBeforeTLS(t *testing.T) {
	server, _, pool := certificates(t)
	d := open(t, smtp.Config{TLS: &tls.Config{Certificates: []tls.Certificate{server}, ClientCAs: pool}})
	c := greeted(t, d)
	c.send("STARTTLS\r\nMAIL FROM:<" + support + ">\r\n")
	c.want("554 5.5.1")
	c.closed()
}

func TestDrainWithinTLS(t *testing.T) {
	server, _, pool := certificates(t)
	d := open(t, smtp.Config{ImplicitTLS: true, TLS: &tls.Config{Certificates: []tls.Certificate{server}, ClientCAs: pool}})
	conn, err := tls.Dial("tcp", d.address, &tls.Config{RootCAs: pool, ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := speak(t, conn)
	c.want("220 ")
	c.do("EHLO me", "250 ")
	d.stop()
	c.want("421 4.3.2")
}
