package sandbox_test

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"mailporter/sandbox"
	"mailporter/sandbox/fault"
	"mailporter/sandbox/idp"
	"mailporter/sandbox/mailstore"
	"mailporter/sandbox/pop3d"
)

// popRole lets an application read by POP3.
const popRole = "POP.AccessAsApp"

// startPOP3 starts a provider whose service may read every mailbox by POP3.
func startPOP3(t *testing.T, change func(*sandbox.Config)) *sandbox.Sandbox {
	t.Helper()
	c := contoso()
	c.Tenants[0].Apps[0].Roles = append(c.Tenants[0].Apps[0].Roles, popRole)
	if change != nil {
		change(&c)
	}
	return start(t, c)
}

func popToken(t *testing.T, sb *sandbox.Sandbox, c idp.Claims) string {
	t.Helper()
	token, _, err := sb.Issuer().Access(c)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

var (
	popApp  = idp.Claims{Tenant: tenantID, Client: service, Audience: idp.Outlook365, Roles: []string{popRole}}
	popUser = idp.Claims{Tenant: idp.GoogleTenant, Client: gClient, User: gmailUser, Scopes: []string{idp.GmailScope}}
)

// popIn is a session of the mailbox, logged in.
func popIn(t *testing.T, sb *sandbox.Sandbox, mailbox string) *wire {
	t.Helper()
	w := dialWire(t, sb, sb.POP3Addr())
	w.want("+OK The Microsoft Exchange POP3 service is ready.")
	w.send("AUTH XOAUTH2")
	w.want("+ ")
	w.send(xoauth2(mailbox, popToken(t, sb, popApp)))
	w.want("+OK User successfully authenticated.")
	return w
}

// quitted ends a session in order.
func (w *wire) quitted() {
	w.t.Helper()
	w.send("QUIT")
	w.want("+OK")
	w.wantClosed()
}

func mailTo(t *testing.T, sb *sandbox.Sandbox, mailbox string, all ...string) {
	t.Helper()
	for _, raw := range all {
		if _, err := sb.Store().Deliver([]byte(raw), []mailstore.Target{{Mailbox: mailbox, Folder: mailstore.Inbox}}, nil); err != nil {
			t.Fatal(err)
		}
	}
}

func waiting(t *testing.T, sb *sandbox.Sandbox, mailbox string) int {
	t.Helper()
	f, err := sb.Store().Folder(mailbox, mailstore.Inbox)
	if err != nil {
		t.Fatal(err)
	}
	return len(f.Messages)
}

func TestPOP3Session(t *testing.T) {
	sb := startPOP3(t, nil)
	mailTo(t, sb, support, "Subject: 1\r\n\r\n.dot\r\n..\r\nend", "Subject: 2\r\n\r\nx\r\ny\r\nz\r\n")
	w := popIn(t, sb, support)
	w.send("STAT")
	w.want("+OK 2 52")
	w.send("LIST 2")
	w.want("+OK 2 23")
	w.send("LIST 3")
	w.want("-ERR")
	w.send("UIDL")
	w.want("+OK")
	first := strings.Fields(w.want("1 "))[1]
	w.want(".")
	w.send("RETR 1")
	for _, line := range []string{"+OK 29 octets", "Subject: 1", "", "..dot", "...", "end", "."} {
		if got := w.want(line); got != line {
			t.Errorf("%q, want %q", got, line)
		}
	}
	w.send("TOP 2 1")
	for _, line := range []string{"+OK", "Subject: 2", "", "x", "."} {
		if got := w.want(line); got != line {
			t.Errorf("top: %q, want %q", got, line)
		}
	}
	w.send("DELE 2")
	w.want("+OK")
	w.send("RETR 2")
	w.want("-ERR")
	w.quitted()
	if n := waiting(t, sb, support); n != 1 {
		t.Errorf("%d messages lie there after QUIT", n)
	}
	again := popIn(t, sb, support)
	again.send("UIDL 1")
	again.want("+OK 1 " + first)
	again.quitted()
}

// TestPOP3DeletesAtQuitAlone: RFC 1939 section 6.
func TestPOP3DeletesAtQuitAlone(t *testing.T) {
	sb := startPOP3(t, nil)
	mailTo(t, sb, support, "Subject: 1\r\n\r\n", "Subject: 2\r\n\r\n")
	w := popIn(t, sb, support)
	w.send("DELE 1")
	w.want("+OK")
	w.send("RSET")
	w.want("+OK")
	w.send("DELE 2")
	w.want("+OK")
	if err := w.conn.Close(); err != nil {
		t.Fatal(err)
	}
	popAgain(t, sb, support).quitted()
	if n := waiting(t, sb, support); n != 2 {
		t.Errorf("%d messages lie there after a broken connection", n)
	}
}

// popAgain logs in once the server has noticed that the session before is over.
func popAgain(t *testing.T, sb *sandbox.Sandbox, mailbox string) *wire {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		w := dialWire(t, sb, sb.POP3Addr())
		w.want("+OK")
		w.send("USER " + mailbox)
		w.want("+OK")
		w.send("PASS pw")
		if line := w.want(""); strings.HasPrefix(line, "+OK") {
			return w
		}
	}
	t.Fatal("the mailbox stays locked")
	return nil
}

func TestPOP3LetsOneSessionIn(t *testing.T) {
	sb := startPOP3(t, nil)
	first := popIn(t, sb, support)
	second := dialWire(t, sb, sb.POP3Addr())
	second.send("AUTH XOAUTH2")
	second.want("+ ")
	second.send(xoauth2(support, popToken(t, sb, popApp)))
	second.want("-ERR [IN-USE]")
	first.quitted()
	popIn(t, sb, support).quitted()
}

func TestPOP3Refuses(t *testing.T) {
	sb := startPOP3(t, func(c *sandbox.Config) {
		c.Tenants[0].Users = append(c.Tenants[0].Users, sandbox.User{Address: "nopop@contoso.example", Password: "pw", POPDisabled: true})
	})
	with := func(change func(*idp.Claims)) string {
		c := popApp
		change(&c)
		return popToken(t, sb, c)
	}
	good := popToken(t, sb, popApp)
	for name, tc := range map[string]struct{ user, token string }{
		"no token of anybody":   {support, "eyJ.none"},
		"another audience":      {support, with(func(c *idp.Claims) { c.Audience = idp.Graph })},
		"permission for IMAP":   {support, with(func(c *idp.Claims) { c.Roles = []string{"IMAP.AccessAsApp"} })},
		"a mailbox not granted": {support, with(func(c *idp.Claims) { c.Client = "one-mailbox-of-nobody" })},
		"an unknown mailbox":    {"nobody@contoso.example", good},
		"POP3 is switched off":  {"nopop@contoso.example", good},
	} {
		t.Run(name, func(t *testing.T) {
			w := dialWire(t, sb, sb.POP3Addr())
			w.send("AUTH XOAUTH2")
			w.want("+ ")
			w.send(xoauth2(tc.user, tc.token))
			w.want("-ERR Authentication failure: unknown user name or bad password.")
			w.send("STAT")
			w.want("-ERR Command is not valid in this state.")
		})
	}
	for line, want := range map[string]string{
		"AUTH XOAUTH2 " + xoauth2(support, "x"): "-ERR", // Exchange wants a line of its own, and 255 octets are the most
		"AUTH OAUTHBEARER":                      "-ERR Unsupported",
		"NOOP " + strings.Repeat("x", 300):      "-ERR The command line is too long.",
		"RETR 1":                                "-ERR Command is not valid in this state.",
		"":                                      "-ERR",
	} {
		w := dialWire(t, sb, sb.POP3Addr())
		w.want("+OK")
		w.send(line)
		w.want(want)
	}
}

func TestPOP3AtGmail(t *testing.T) {
	sb := startPOP3(t, func(c *sandbox.Config) { c.Google.Users[0].POPOnce = true })
	mailTo(t, sb, gmailUser, "Subject: 1\r\n\r\n", "Subject: 2\r\n\r\n")
	in := func(user, mechanism, response string) *wire {
		w := dialWire(t, sb, sb.GmailPOP3Addr())
		w.want("+OK Gpop ready")
		w.send("AUTH " + mechanism + " " + response)
		w.want("+OK Welcome.")
		return w
	}
	token := popToken(t, sb, popUser)
	w := in(gmailUser, "XOAUTH2", xoauth2(gmailUser, token))
	w.send("CAPA")
	w.want("PIPELINING")
	w.want(".")
	w.send("RETR 1\r\nRETR 2\r\nDELE 2")
	w.want("+OK 14 octets")
	w.want(".")
	w.want("+OK 14 octets")
	w.want(".")
	w.want("+OK")
	w.quitted()
	bearer := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "n,a=%s,\x01host=x\x01auth=Bearer %s\x01\x01", gmailUser, token))
	second := in(gmailUser, "OAUTHBEARER", bearer)
	second.send("STAT")
	second.want("+OK 0 0") // what was handed out is shown no more
	second.quitted()
	third := in("recent:"+gmailUser, "XOAUTH2", xoauth2("recent:"+gmailUser, token))
	third.send("STAT")
	third.want("+OK 1 14")
	third.quitted()

	bad := dialWire(t, sb, sb.GmailPOP3Addr())
	bad.want("+OK")
	bad.send("AUTH XOAUTH2 " + xoauth2(gmailUser, "none"))
	if challenge, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(bad.want("+ "), "+ ")); err != nil || !strings.Contains(string(challenge), `"status":"400"`) {
		t.Errorf("challenge %q, %v", challenge, err)
	}
	bad.send("")
	bad.want("-ERR [AUTH] Username and password not accepted.")
}

// TestPOP3DeletesAsGmailIsTold: what DELE does is a setting of the account there.
func TestPOP3DeletesAsGmailIsTold(t *testing.T) {
	for name, tc := range map[string]struct {
		setting             idp.POPDelete
		user                string
		left, trash, unread int
	}{
		"delete":               {setting: idp.POPRemove, user: gmailUser},
		"nothing is set":       {user: gmailUser},
		"trash":                {setting: idp.POPTrash, user: gmailUser, trash: 1},
		"mark-read":            {setting: idp.POPMarkRead, user: gmailUser, left: 1},
		"keep":                 {setting: idp.POPKeep, user: gmailUser, left: 1, unread: 1},
		"recent leaves copies": {setting: idp.POPRemove, user: "recent:" + gmailUser, left: 1, unread: 1},
	} {
		t.Run(name, func(t *testing.T) {
			sb := startPOP3(t, func(c *sandbox.Config) { c.Google.Users[0].POPDelete = tc.setting })
			mailTo(t, sb, gmailUser, "Subject: 1\r\n\r\n")
			w := dialWire(t, sb, sb.GmailPOP3Addr())
			w.send("AUTH XOAUTH2 " + xoauth2(tc.user, popToken(t, sb, popUser)))
			w.want("+OK Welcome.")
			w.send("DELE 1")
			w.want("+OK")
			w.quitted()
			if n := waiting(t, sb, gmailUser); n != tc.left {
				t.Errorf("%d messages lie in the INBOX, want %d", n, tc.left)
			}
			if n := unread(t, sb, gmailUser); n != tc.unread {
				t.Errorf("%d of them are unread, want %d", n, tc.unread)
			}
			trash, err := sb.Store().Folder(gmailUser, sb.Store().Used(gmailUser, mailstore.UseTrash))
			if err != nil || len(trash.Messages) != tc.trash {
				t.Errorf("%d messages lie in the trash, want %d; %v", len(trash.Messages), tc.trash, err)
			}
		})
	}
	c := contoso()
	c.Google.Users[0].POPDelete = "burn"
	if err := c.Validate(); err == nil || !strings.Contains(err.Error(), `pop-delete "burn"`) {
		t.Errorf("a setting that nobody knows: %v", err)
	}
}

func unread(t *testing.T, sb *sandbox.Sandbox, mailbox string) int {
	t.Helper()
	f, err := sb.Store().Folder(mailbox, mailstore.Inbox)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, m := range f.Messages {
		if !m.Has(`\Seen`) {
			n++
		}
	}
	return n
}

// TestPOP3TakesOneLineIfTold: RFC 5034 allows the line of AUTH to carry the response; Exchange Online refuses it.
func TestPOP3TakesOneLineIfTold(t *testing.T) {
	for name, tc := range map[string]struct {
		allowed bool
		want    string
	}{
		"as Exchange Online is": {false, "-ERR Protocol error."},
		"allowed":               {true, "+OK User successfully authenticated."},
	} {
		t.Run(name, func(t *testing.T) {
			sb := startPOP3(t, func(c *sandbox.Config) { c.POP3OneLine = tc.allowed })
			w := dialWire(t, sb, sb.POP3Addr())
			w.want("+OK")
			w.send("AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00"+support+"\x00pw")))
			w.want(tc.want)
			if !tc.allowed {
				return
			}
			w.quitted()
			again := dialWire(t, sb, sb.POP3Addr())
			again.send("AUTH XOAUTH2 " + xoauth2(support, popToken(t, sb, popApp)))
			again.want(tc.want)
		})
	}
}

func TestPOP3TLS(t *testing.T) {
	sb := startPOP3(t, func(c *sandbox.Config) { c.POP3Security = pop3d.StartTLS })
	raw, err := net.Dial("tcp", sb.POP3Addr())
	if err != nil {
		t.Fatal(err)
	}
	w := newWire(t, raw)
	w.want("+OK")
	w.send("USER " + support)
	w.want("-ERR Command is not valid in this state: TLS is required.")
	w.send("CAPA")
	w.want("STLS")
	w.want(".")
	w.send("STLS")
	w.want("+OK")
	secure := newWire(t, tls.Client(raw, tlsConfig(sb)))
	secure.send("USER " + support)
	secure.want("+OK")
	secure.send("PASS pw")
	secure.want("+OK")
	secure.quitted()
}

func TestPOP3SessionsEndWithTheirToken(t *testing.T) {
	sb := startPOP3(t, func(c *sandbox.Config) { c.TokenLife = time.Second })
	w := popIn(t, sb, support)
	for deadline := time.Now().Add(time.Minute); sb.Stats().POP3.Expired == 0; {
		if time.Now().After(deadline) {
			t.Fatal("the session does not end")
		}
		time.Sleep(10 * time.Millisecond) // a real clock runs at the server
	}
	w.send("NOOP")
	w.want("-ERR Session invalidated - AccessTokenExpired")
	w.wantClosed()
}

func TestPOP3Faults(t *testing.T) {
	sb := startPOP3(t, nil)
	mailTo(t, sb, support, "Subject: 1\r\n\r\n0123456789\r\n")
	rule := func(r fault.Rule) {
		r.Target, r.Count = fault.POP3, 1
		sb.Faults().Add(r)
	}
	rule(fault.Rule{Step: "auth", Action: fault.RefuseToken})
	w := dialWire(t, sb, sb.POP3Addr())
	w.send("AUTH XOAUTH2")
	w.want("+ ")
	w.send(xoauth2(support, popToken(t, sb, popApp)))
	w.want("-ERR Authentication failure")

	w = popIn(t, sb, support)
	rule(fault.Rule{Step: "uidl", Action: fault.Reply, Text: "[SYS/TEMP] later"})
	w.send("UIDL")
	w.want("-ERR [SYS/TEMP] later")
	rule(fault.Rule{Step: "retr", Action: fault.Cut, Bytes: 20})
	w.send("RETR 1")
	w.want("+OK")
	w.want("Subject: 1")
	w.want("")
	if rest, err := w.r.ReadString(0); err == nil || rest != "012345" {
		t.Errorf("after the cut: %q, %v", rest, err)
	}

	w = popAgain(t, sb, support)
	rule(fault.Rule{Step: "quit", Action: fault.LoseAnswer})
	w.send("DELE 1")
	w.want("+OK")
	w.send("QUIT")
	if rest, err := w.r.ReadString(0); err == nil || rest != "" {
		t.Errorf("an answer that is lost: %q, %v", rest, err)
	}
	if n := waiting(t, sb, support); n != 0 {
		t.Errorf("%d messages lie there: the step happens, its answer is lost", n)
	}
}
