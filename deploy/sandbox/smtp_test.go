package sandbox_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	gosasl "github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// replyOf is "code enhanced" of a server's refusal, "" of none.
func replyOf(err error) string {
	var e *smtp.SMTPError
	if errors.As(err, &e) {
		return fmt.Sprintf("%d %d.%d.%d", e.Code, e.EnhancedCode[0], e.EnhancedCode[1], e.EnhancedCode[2])
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func TestSMTPSpeaksLikeExchange(t *testing.T) {
	sb := start(t, contoso())
	raw, err := net.Dial("tcp", sb.SMTPAddr())
	if err != nil {
		t.Fatal(err)
	}
	w := newWire(t, raw)
	w.want("220 ")
	w.send("EHLO me")
	w.want("250-STARTTLS")
	w.send("AUTH XOAUTH2 eA==")
	w.want("523 5.7.10")
	w.send("MAIL FROM:<" + support + ">")
	w.want("530 5.7.57 Client not authenticated to send mail.")

	c := dialSMTP(t, sb)
	if ok, mechanisms := c.Extension("AUTH"); !ok || mechanisms != "LOGIN XOAUTH2 PLAIN" {
		t.Errorf("AUTH %q", mechanisms)
	}
	for _, ext := range []string{"SIZE", "8BITMIME", "DSN", "PIPELINING", "ENHANCEDSTATUSCODES", "SMTPUTF8", "CHUNKING"} {
		if ok, _ := c.Extension(ext); !ok {
			t.Errorf("%s is not offered", ext)
		}
	}
	if ok, _ := c.Extension("STARTTLS"); ok {
		t.Error("STARTTLS is offered twice")
	}
}

func TestSMTPLoginMatrix(t *testing.T) {
	sb := start(t, contoso())
	app := appToken(t, sb, service)
	tests := []struct {
		name string
		auth gosasl.Client
		want string
	}{
		{"app-only", &bearer{user: support, token: app}, ""},
		{"app-only in two steps", &bearer{user: support, token: app, split: true}, ""},
		{"own mailbox", &bearer{user: support, token: userToken(t, sb, support, smtpScope)}, ""},
		{"shared mailbox with full access", &bearer{user: shared, token: userToken(t, sb, support, smtpScope)}, ""},
		{"shared mailbox without", &bearer{user: shared, token: userToken(t, sb, sales, smtpScope)}, "535 5.7.3"},
		{"scope of imap", &bearer{user: support, token: userToken(t, sb, support, imapScope)}, "535 5.7.3"},
		{"other mailbox", &bearer{user: sales, token: appToken(t, sb, "one-mailbox")}, "535 5.7.3"},
		{"no role", &bearer{user: support, token: appToken(t, sb, "no-rights")}, "535 5.7.3"},
		{"bad token", &bearer{user: support, token: "x"}, "535 5.7.3"},
		{"smtp disabled", &bearer{user: "nosmtp@contoso.example", token: app}, "535 5.7.139"},
		{"password", gosasl.NewPlainClient("", support, "pw"), ""},
		{"password with LOGIN", gosasl.NewLoginClient(support, "pw"), ""},
		{"wrong password", gosasl.NewPlainClient("", support, "no"), "535 5.7.139"},
		{"basic authentication is off", gosasl.NewPlainClient("", "nobasic@contoso.example", "pw"), "535 5.7.139"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := replyOf(dialSMTP(t, sb).Auth(test.auth)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestGmailSMTP(t *testing.T) {
	sb := start(t, contoso())
	w := dialWire(t, sb, sb.GmailSMTPAddr())
	w.send("EHLO me")
	w.want("250-AUTH LOGIN PLAIN XOAUTH2 OAUTHBEARER")
	w.want("250 ")
	w.send("MAIL FROM:<" + gmailUser + ">")
	w.want("530-5.7.0")
	w.want("530 5.7.0")
	w.send("AUTH XOAUTH2")
	w.want("334 ")
	w.send(xoauth2(gmailUser, "bad"))
	challenge, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(w.want("334 "), "334 "))
	if err != nil || !strings.Contains(string(challenge), `"status":"400"`) {
		t.Errorf("challenge %q, %v", challenge, err)
	}
	w.send("")
	w.want("535-5.7.8 Username and Password not accepted")
	w.want("535 5.7.8 https://")
	w.send("AUTH XOAUTH2 " + xoauth2(gmailUser, googleToken(t, sb)))
	w.want("235 ")
	w.send("MAIL FROM:<" + gmailUser + ">")
	w.want("250 ")
	w.send("RCPT TO:<nobody@gmail.example>")
	w.want("550 5.1.1")
	w.send("RCPT TO:<" + support + ">")
	w.want("250 ")
	w.send("DATA")
	w.want("354 ")
	w.send("Subject: x\r\n\r\n..\r\n.")
	w.want("250 ")
	for folder, addr := range map[string]string{"INBOX": support, "[Gmail]/Sent Mail": gmailUser} {
		f, err := sb.Store().Folder(addr, folder)
		if err != nil || len(f.Messages) != 1 {
			t.Fatalf("%s of %s: %+v, %v", folder, addr, f, err)
		}
		if b, _ := f.Messages[0].Raw(); string(b) != "Subject: x\r\n\r\n.\r\n" {
			t.Errorf("%s: %q", folder, b)
		}
	}
}

func TestGmailAppPassword(t *testing.T) {
	sb := start(t, contoso())
	for password, ok := range map[string]bool{"abcd efgh ijkl mnop": true, "abcdefghijklmnop": true, "abcd": false} {
		c, err := smtp.DialTLS(sb.GmailSMTPAddr(), tlsConfig(sb))
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Auth(gosasl.NewPlainClient("", gmailUser, password)); (err == nil) != ok {
			t.Errorf("%q: %v", password, err)
		}
		_ = c.Close()
	}
}

func TestSMTPSendersAndRecipients(t *testing.T) {
	sb := start(t, contoso())
	const plain = "Subject: x\r\n\r\nx\r\n"
	tests := []struct {
		name, client, from, to, raw string
		want                        string
	}{
		{"own address", service, support, sales, plain, ""},
		{"reports have no sender", service, "", sales, plain, ""},
		{"another sender", service, sales, sales, plain, "550 5.7.60"},
		{"another sender with send-as", "one-mailbox", shared, sales, plain, ""},
		{"another From", service, support, sales, "From: Boss <ceo@contoso.example>\r\n\r\nx\r\n", "554 5.2.252"},
		{"another From with send-as", "one-mailbox", support, sales, "From: " + shared + "\r\n\r\nx\r\n", ""},
		{"From that cannot be read", service, support, sales, "From: @@\r\n\r\nx\r\n", ""},
		{"unknown recipient", service, support, "nobody@contoso.example", plain, "550 5.1.10"},
		{"unknown recipient at gmail", service, support, "nobody@gmail.example", plain, "550 5.1.10"},
		{"foreign recipient", service, support, "a@elsewhere.example", plain, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := openSMTP(t, sb, support, appToken(t, sb, test.client))
			if got := replyOf(send(c, test.from, test.raw, test.to)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	if got := len(sb.Outbound()); got != 1 {
		t.Errorf("%d outbound messages", got)
	}
}

func TestOneCopyForARecipientNamedTwice(t *testing.T) {
	sb := start(t, contoso())
	if err := send(openSMTP(t, sb, support, appToken(t, sb, service)), support, "Subject: x\r\n\r\n", sales, sales, shared); err != nil {
		t.Fatal(err)
	}
	for _, addr := range []string{sales, shared} {
		if f, err := sb.Store().Folder(addr, "INBOX"); err != nil || len(f.Messages) != 1 {
			t.Errorf("%s: %d messages, %v", addr, len(f.Messages), err)
		}
	}
}

func TestFourthSMTPConnectionIsOneTooMany(t *testing.T) {
	sb := start(t, contoso())
	token := appToken(t, sb, service)
	first := openSMTP(t, sb, support, token)
	openSMTP(t, sb, support, token)
	openSMTP(t, sb, support, token)
	if got := replyOf(dialSMTP(t, sb).Auth(&bearer{user: support, token: token})); got != "432 4.3.2" {
		t.Errorf("fourth connection: %q", got)
	}
	openSMTP(t, sb, sales, token) // another mailbox has its own three
	if err := first.Quit(); err != nil {
		t.Fatal(err)
	}
	openSMTP(t, sb, support, token)
	if peak := sb.Stats().SMTP.Peak[support]; peak != 3 {
		t.Errorf("peak %d", peak)
	}
}

func TestMessageTooLarge(t *testing.T) {
	c := contoso()
	c.Limits.MessageSize = 1000
	sb := start(t, c)
	client := openSMTP(t, sb, support, appToken(t, sb, service))
	if got := replyOf(send(client, support, "Subject: x\r\n\r\n"+strings.Repeat("x\r\n", 1000), sales)); got != "552 5.3.4" {
		t.Errorf("got %q", got)
	}
	if err := client.Reset(); err != nil {
		t.Fatal(err)
	}
	if err := send(client, support, "Subject: x\r\n\r\n", sales); err != nil {
		t.Errorf("the next one: %v", err)
	}
}

func TestChunking(t *testing.T) {
	sb := start(t, contoso())
	w := dialWire(t, sb, sb.GmailSMTPAddr())
	w.send("EHLO me")
	w.want("250 ")
	w.send("AUTH XOAUTH2 " + xoauth2(gmailUser, googleToken(t, sb)))
	w.want("235 ")
	w.send("MAIL FROM:<" + gmailUser + ">")
	w.want("250 ")
	w.send("RCPT TO:<" + support + ">")
	w.want("250 ")
	w.send("BDAT 12\r\nSubject: x")
	w.want("250 ")
	w.send("BDAT 4 LAST\r\n\r\n")
	w.want("250 ")
	f, err := sb.Store().Folder(support, "INBOX")
	if err != nil || len(f.Messages) != 1 {
		t.Fatalf("%+v, %v", f, err)
	}
	if b, _ := f.Messages[0].Raw(); string(b) != "Subject: x\r\n\r\n\r\n" {
		t.Errorf("stored %q", b)
	}
}

func TestManyMessagesSideBySide(t *testing.T) {
	sb := start(t, contoso())
	token := appToken(t, sb, service)
	const senders, each = 3, 20
	var wg sync.WaitGroup
	for range senders {
		c := openSMTP(t, sb, support, token)
		wg.Go(func() {
			for i := range each {
				if err := send(c, support, letter(i), sales); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	f, err := sb.Store().Folder(sales, "INBOX")
	if err != nil || len(f.Messages) != senders*each {
		t.Fatalf("%d messages, %v", len(f.Messages), err)
	}
	for i, m := range f.Messages {
		if m.UID != uint32(i+1) {
			t.Fatalf("message %d has UID %d", i, m.UID)
		}
	}
}

func TestExcessMessagesAreDelayed(t *testing.T) {
	c := contoso()
	c.Limits.MessagesPerMinute = 1
	sb := start(t, c)
	client := openSMTP(t, sb, support, appToken(t, sb, service))
	if err := send(client, support, letter(1), sales); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- send(client, support, letter(2), sales) }()
	select {
	case err := <-done:
		t.Errorf("the second message of the minute was answered at once: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	_ = client.Close()
	<-done
}

// TestSentCopies: a copy of what was submitted comes at once, after a while, or never.
func TestSentCopies(t *testing.T) {
	for name, c := range map[string]struct {
		delay time.Duration
		comes bool
	}{"at once": {0, true}, "after a while": {300 * time.Millisecond, true}, "never": {-1, false}} {
		t.Run(name, func(t *testing.T) {
			config := contoso()
			config.SentCopyDelay = c.delay
			sb := start(t, config)
			client := dialSMTP(t, sb)
			if err := client.Auth(gosasl.NewPlainClient("", support, "pw")); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			if err := client.SendMail(support, []string{sales}, strings.NewReader("Message-ID: <1@contoso.example>\r\n\r\nx\r\n")); err != nil {
				t.Fatal(err)
			}
			kept := func() int {
				f, err := sb.Store().Folder(support, "Sent Items")
				if err != nil {
					t.Fatal(err)
				}
				return len(f.Messages)
			}
			for c.comes && kept() == 0 && time.Since(began) < time.Minute {
				time.Sleep(10 * time.Millisecond)
			}
			if (kept() == 1) != c.comes || c.comes && time.Since(began) < c.delay {
				t.Errorf("%d copies after %v", kept(), time.Since(began))
			}
		})
	}
}
