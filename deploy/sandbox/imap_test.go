package sandbox_test

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"

	"mailporter/sandbox"
	"mailporter/sandbox/mailstore"
)

// wire is a client that speaks line by line, for what libraries hide.
type wire struct {
	t    *testing.T
	conn net.Conn
	r    *bufio.Reader
}

func dialWire(t *testing.T, sb *sandbox.Sandbox, addr string) *wire {
	t.Helper()
	c, err := tls.Dial("tcp", addr, tlsConfig(sb))
	if err != nil {
		t.Fatal(err)
	}
	return newWire(t, c)
}

func newWire(t *testing.T, c net.Conn) *wire {
	t.Helper()
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return &wire{t, c, bufio.NewReader(c)}
}

func (w *wire) send(line string) {
	w.t.Helper()
	if _, err := io.WriteString(w.conn, line+"\r\n"); err != nil {
		w.t.Fatal(err)
	}
}

// want reads lines until one begins with prefix, and returns it.
func (w *wire) want(prefix string) string {
	w.t.Helper()
	var seen []string
	for {
		line, err := w.r.ReadString('\n')
		if err != nil {
			w.t.Fatalf("want %q, got %v after %q", prefix, err, seen)
		}
		line = strings.TrimRight(line, "\r\n")
		if strings.HasPrefix(line, prefix) {
			return line
		}
		seen = append(seen, line)
	}
}

func (w *wire) wantClosed() {
	w.t.Helper()
	if rest, err := io.ReadAll(w.r); errors.Is(err, net.ErrClosed) || len(rest) > 0 {
		w.t.Errorf("connection goes on with %q, %v", rest, err)
	}
}

func xoauth2(user, token string) string {
	return base64.StdEncoding.EncodeToString([]byte("user=" + user + "\x01auth=Bearer " + token + "\x01\x01"))
}

func TestExchangeIMAPSpeaksLikeExchange(t *testing.T) {
	sb := start(t, contoso())
	w := dialWire(t, sb, sb.IMAPAddr())
	w.want("* OK The Microsoft Exchange IMAP4 service is ready.")
	w.send("a CAPABILITY")
	if got := w.want("* CAPABILITY"); got != "* CAPABILITY IMAP4 IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2 SASL-IR UIDPLUS ID UNSELECT CHILDREN IDLE NAMESPACE LITERAL+" {
		t.Error(got)
	}
	w.send(`i ID ("name" "test")`)
	w.want(`* ID ("name" "Microsoft.Exchange.Imap4.Imap4Server"`)
	w.want("i OK")
	w.send("b AUTHENTICATE XOAUTH2 " + xoauth2(support, "bad"))
	w.want("b NO AUTHENTICATE failed.")
	w.send("c AUTHENTICATE XOAUTH2") // two steps
	w.want("+ ")
	w.send(xoauth2(support, appToken(t, sb, service)))
	w.want("c OK AUTHENTICATE completed.")
	w.send("d CAPABILITY")
	if got := w.want("* CAPABILITY"); !strings.Contains(got, " MOVE ") || strings.Contains(got, "CONDSTORE") {
		t.Error(got)
	}
	w.send("e LIST \"\" *")
	if got := w.want(`* LIST (\HasNoChildren \Sent)`); got != `* LIST (\HasNoChildren \Sent) "/" "Sent Items"` {
		t.Error(got)
	}
	w.want("e OK")
	w.send("i ID NIL")
	w.want("* ID")
	w.want("i OK")
	w.send("j APPEND Drafts {10}")
	w.want("+ ")
	w.send("x ID NIL\r\n") // a message, however much like a command it looks
	w.want("j OK")
	w.send("f NAMESPACE")
	w.want(`* NAMESPACE (("" "/")) NIL NIL`)
	w.send("g LOGOUT")
	w.want("* BYE")
	w.want("g OK")
	w.wantClosed()
}

func TestGmailIMAPSpeaksLikeGmail(t *testing.T) {
	sb := start(t, contoso())
	w := dialWire(t, sb, sb.GmailIMAPAddr())
	w.want("* OK Gimap ready for requests")
	w.send("a AUTHENTICATE XOAUTH2 " + xoauth2(gmailUser, "bad"))
	challenge, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(w.want("+ "), "+ "))
	if err != nil || string(challenge) != `{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}` {
		t.Errorf("challenge %q, %v", challenge, err)
	}
	w.send("")
	w.want("a NO [AUTHENTICATIONFAILED] Invalid credentials (Failure)")
	token := googleToken(t, sb)
	w.send("b AUTHENTICATE OAUTHBEARER " + base64.StdEncoding.EncodeToString(
		[]byte("n,a="+gmailUser+",\x01host=localhost\x01port=993\x01auth=Bearer "+token+"\x01\x01")))
	w.want("* CAPABILITY IMAP4rev1 UNSELECT IDLE")
	w.want("b OK " + gmailUser + " authenticated (Success)")
	w.send("c LIST \"\" *")
	w.want(`* LIST (\HasNoChildren \Sent) "/" "[Gmail]/Sent Mail"`)
	w.want("c OK")

	p := dialWire(t, sb, sb.GmailIMAPAddr())
	p.send("a LOGIN " + gmailUser + " abcdefghijklmnop")
	p.want("a OK")
}

func TestIMAPLoginMatrix(t *testing.T) {
	sb := start(t, contoso())
	const failed, unconnected = "AUTHENTICATE failed.", "User is authenticated but not connected."
	graph := post(t, sb, entra(sb, tenantID), form("grant_type", "client_credentials", "client_id", service, "client_secret", secret,
		"scope", "https://graph.microsoft.com/.default")).Access
	tests := []struct {
		name, user, token string
		login, selected   string // texts of the refusal; empty: fine
	}{
		{"app-only, all mailboxes", sales, appToken(t, sb, service), "", ""},
		{"app-only, granted mailbox", support, appToken(t, sb, "one-mailbox"), "", ""},
		{"app-only, other mailbox", sales, appToken(t, sb, "one-mailbox"), "", unconnected},
		{"app-only, no such mailbox", "nobody@contoso.example", appToken(t, sb, service), "", unconnected},
		{"app-only, no role", support, appToken(t, sb, "no-rights"), failed, ""},
		{"own mailbox", support, userToken(t, sb, support, imapScope), "", ""},
		{"shared mailbox with full access", shared, userToken(t, sb, support, imapScope), "", ""},
		{"shared mailbox without", shared, userToken(t, sb, sales, imapScope), "", unconnected},
		{"imap disabled", "noimap@contoso.example", appToken(t, sb, service), "", unconnected},
		{"scope of smtp", support, userToken(t, sb, support, smtpScope), failed, ""},
		{"audience graph", support, graph, failed, ""},
		{"token of google", support, googleToken(t, sb), failed, ""},
		{"account of google", gmailUser, appToken(t, sb, service), failed, ""},
		{"no token at all", support, "x", failed, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := dialIMAP(t, sb, sb.IMAPAddr(), nil)
			if got := textOf(c.Authenticate(&bearer{user: test.user, token: test.token})); got != test.login {
				t.Fatalf("login: %q, want %q", got, test.login)
			}
			if test.login != "" {
				return
			}
			if _, err := c.Select("INBOX", nil).Wait(); textOf(err) != test.selected {
				t.Errorf("select: %v, want %q", err, test.selected)
			}
		})
	}
}

// textOf is the text of a server's refusal, or "".
func textOf(err error) string {
	var e *imap.Error
	if errors.As(err, &e) {
		return e.Text
	}
	if err != nil {
		return err.Error()
	}
	return ""
}

func TestIMAPPasswords(t *testing.T) {
	sb := start(t, contoso())
	tests := []struct {
		name, user, password string
		ok                   bool
	}{
		{"right", support, "pw", true},
		{"wrong", support, "no", false},
		{"shared mailbox", shared, "", false},
		{"basic authentication is off", "nobasic@contoso.example", "pw", false},
		{"gmail account", gmailUser, "abcdefghijklmnop", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := dialIMAP(t, sb, sb.IMAPAddr(), nil)
			if err := c.Login(test.user, test.password).Wait(); (err == nil) != test.ok {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestLongTokensInOneAndTwoSteps(t *testing.T) {
	sb := start(t, contoso())
	long := strings.Repeat("x", 20000)
	for _, line := range []string{"a AUTHENTICATE XOAUTH2 " + xoauth2(support, long), "a AUTHENTICATE XOAUTH2\r\n" + xoauth2(support, long)} {
		w := dialWire(t, sb, sb.IMAPAddr())
		w.send(line)
		w.want("a NO AUTHENTICATE failed.")
		w.send("b NOOP")
		w.want("b OK")
	}
}

func TestAuthenticateIsCancelled(t *testing.T) {
	sb := start(t, contoso())
	w := dialWire(t, sb, sb.IMAPAddr())
	w.send("a AUTHENTICATE XOAUTH2")
	w.want("+ ")
	w.send("*")
	w.want("a BAD")
	w.send("b AUTHENTICATE XOAUTH2 ====")
	w.want("b BAD")
	w.send("c AUTHENTICATE XOAUTH2 " + base64.StdEncoding.EncodeToString([]byte("user=a")))
	w.want("c BAD")
	w.send("d AUTHENTICATE GSSAPI eA==")
	w.want("d NO")
}

func put(t *testing.T, sb *sandbox.Sandbox, addr string, raws ...string) {
	t.Helper()
	for _, raw := range raws {
		if _, err := sb.Store().Deliver([]byte(raw), []mailstore.Target{{Mailbox: addr, Folder: "INBOX"}}, nil); err != nil {
			t.Fatal(err)
		}
	}
}

func letter(n int) string { return fmt.Sprintf("Subject: letter %d\r\n\r\nbody %d\r\n", n, n) }

func TestIdleTellsOfNewMailAndIsEndedByTheTokensEnd(t *testing.T) {
	c := contoso()
	c.TokenLife = 2 * time.Second
	sb := start(t, c)
	w := dialWire(t, sb, sb.IMAPAddr())
	w.send("a AUTHENTICATE XOAUTH2 " + xoauth2(support, appToken(t, sb, service)))
	w.want("a OK")
	w.send("b SELECT INBOX")
	w.want("b OK")
	w.send("c IDLE")
	w.want("+ ")
	put(t, sb, support, letter(1))
	w.want("* 1 EXISTS")
	w.want("* BYE Session invalidated - AccessTokenExpired")
	w.wantClosed()
	if n := sb.Stats().IMAP.Expired; n != 1 {
		t.Errorf("%d sessions counted as expired", n)
	}
}

func TestTokenEndsBetweenCommands(t *testing.T) {
	c := contoso()
	c.TokenLife = time.Second
	sb := start(t, c)
	w := dialWire(t, sb, sb.IMAPAddr())
	w.send("a AUTHENTICATE XOAUTH2 " + xoauth2(support, appToken(t, sb, service)))
	w.want("a OK")
	w.want("* BYE Session invalidated - AccessTokenExpired")
	w.wantClosed()
}

func TestTokenEndsDuringFetch(t *testing.T) {
	c := contoso()
	c.TokenLife = 2 * time.Second
	sb := start(t, c)
	// More than the kernel buffers: the server is still writing when the token ends, because nobody reads.
	big := "Subject: big\r\n\r\n" + strings.Repeat(strings.Repeat("x", 998)+"\r\n", 8<<10)
	put(t, sb, support, big, big, big)
	token := appToken(t, sb, service)
	claims, err := sb.Issuer().Verify(token)
	if err != nil {
		t.Fatal(err)
	}
	w := dialWire(t, sb, sb.IMAPAddr())
	w.send("a AUTHENTICATE XOAUTH2 " + xoauth2(support, token))
	w.want("a OK")
	w.send("b SELECT INBOX")
	w.want("b OK")
	w.send("c UID FETCH 1:* (UID BODY.PEEK[])")
	<-time.After(time.Until(claims.Expires.Add(100 * time.Millisecond)))
	w.want("c NO Session invalidated - AccessTokenExpired")
	w.wantClosed()
}

func TestGmailSessionOutlivesItsToken(t *testing.T) {
	c := contoso()
	c.TokenLife = time.Second
	sb := start(t, c)
	token := googleToken(t, sb)
	claims, err := sb.Issuer().Verify(token)
	if err != nil {
		t.Fatal(err)
	}
	w := dialWire(t, sb, sb.GmailIMAPAddr())
	w.send("a AUTHENTICATE XOAUTH2 " + xoauth2(gmailUser, token))
	w.want("a OK")
	<-time.After(time.Until(claims.Expires))
	w.send("b SELECT INBOX")
	w.want("b OK")
}

func TestIMAPCommands(t *testing.T) {
	sb := start(t, contoso())
	put(t, sb, support, letter(1), letter(2), letter(3))
	c := openIMAP(t, sb, support, appToken(t, sb, service), nil)
	selected, err := c.Select("inbox", nil).Wait()
	if err != nil || selected.NumMessages != 3 || selected.UIDNext != 4 {
		t.Fatalf("select: %+v, %v", selected, err)
	}
	t.Run("search", func(t *testing.T) {
		for _, test := range []struct {
			name     string
			criteria imap.SearchCriteria
			want     []imap.UID
		}{
			{"all", imap.SearchCriteria{}, []imap.UID{1, 2, 3}},
			{"subject", imap.SearchCriteria{Header: []imap.SearchCriteriaHeaderField{{Key: "subject", Value: "LETTER 2"}}}, []imap.UID{2}},
			{"body", imap.SearchCriteria{Body: []string{"body 3"}}, []imap.UID{3}},
			{"text", imap.SearchCriteria{Text: []string{"letter 1"}}, []imap.UID{1}},
			{"unseen not 2", imap.SearchCriteria{NotFlag: []imap.Flag{imap.FlagSeen}, Not: []imap.SearchCriteria{{UID: []imap.UIDSet{imap.UIDSetNum(2)}}}}, []imap.UID{1, 3}},
			{"or", imap.SearchCriteria{Or: [][2]imap.SearchCriteria{{{Body: []string{"body 1"}}, {Body: []string{"body 2"}}}}}, []imap.UID{1, 2}},
			{"larger", imap.SearchCriteria{Larger: 1 << 20}, nil},
			{"since", imap.SearchCriteria{Since: time.Now().Add(-48 * time.Hour)}, []imap.UID{1, 2, 3}},
			{"before", imap.SearchCriteria{Before: time.Now().Add(-48 * time.Hour)}, nil},
		} {
			data, err := c.UIDSearch(&test.criteria, nil).Wait()
			if err != nil || !slices.Equal(data.AllUIDs(), test.want) {
				t.Errorf("%s: %v, %v, want %v", test.name, data.AllUIDs(), err, test.want)
			}
		}
	})
	t.Run("sections", func(t *testing.T) {
		for _, test := range []struct {
			section imap.FetchItemBodySection
			want    string
		}{
			{imap.FetchItemBodySection{Specifier: imap.PartSpecifierHeader, Peek: true}, "Subject: letter 2\r\n\r\n"},
			{imap.FetchItemBodySection{Specifier: imap.PartSpecifierText, Peek: true}, "body 2\r\n"},
			{imap.FetchItemBodySection{Peek: true, Partial: &imap.SectionPartial{Offset: 9, Size: 6}}, "letter"},
			{imap.FetchItemBodySection{Peek: true, Partial: &imap.SectionPartial{Offset: 9999, Size: 6}}, ""},
			{imap.FetchItemBodySection{Specifier: imap.PartSpecifierHeader, HeaderFields: []string{"To"}, Peek: true}, "\r\n"},
		} {
			got, err := c.Fetch(imap.UIDSetNum(2), &imap.FetchOptions{UID: true, BodySection: []*imap.FetchItemBodySection{&test.section}}).Collect()
			if err != nil || len(got) != 1 || string(got[0].BodySection[0].Bytes) != test.want {
				t.Errorf("%+v: %+v, %v, want %q", test.section, got, err, test.want)
			}
		}
	})
	t.Run("envelope and structure", func(t *testing.T) {
		got, err := c.Fetch(imap.SeqSetNum(1), &imap.FetchOptions{Envelope: true, BodyStructure: &imap.FetchItemBodyStructure{Extended: true}}).Collect()
		if err != nil || got[0].Envelope.Subject != "letter 1" || got[0].BodyStructure.MediaType() != "text/plain" {
			t.Errorf("%+v, %v", got, err)
		}
	})
	t.Run("flags", func(t *testing.T) {
		got, err := c.Store(imap.UIDSetNum(1), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagSeen, imap.FlagFlagged}}, nil).Collect()
		if err != nil || len(got) != 1 || len(got[0].Flags) != 2 {
			t.Errorf("add: %+v, %v", got, err)
		}
		got, err = c.Store(imap.UIDSetNum(1), &imap.StoreFlags{Op: imap.StoreFlagsDel, Flags: []imap.Flag{imap.FlagFlagged}}, nil).Collect()
		if err != nil || !slices.Equal(got[0].Flags, []imap.Flag{imap.FlagSeen}) {
			t.Errorf("remove: %+v, %v", got, err)
		}
		if _, err := c.Fetch(imap.UIDSetNum(2), &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{{}}}).Collect(); err != nil {
			t.Fatal(err)
		}
		if f, _ := sb.Store().Folder(support, "INBOX"); !f.Messages[1].Has(`\Seen`) || f.Messages[2].Has(`\Seen`) {
			t.Errorf("BODY[] without PEEK must set \\Seen, and only there")
		}
	})
	t.Run("move, copy, expunge", func(t *testing.T) {
		moved, err := c.Move(imap.UIDSetNum(1), "Archive").Wait()
		if err != nil || fmt.Sprint(moved.SourceUIDs) != "1" || fmt.Sprint(moved.DestUIDs) != "1" {
			t.Errorf("move: %+v, %v", moved, err)
		}
		copied, err := c.Copy(imap.UIDSetNum(2), "Archive").Wait()
		if err != nil || fmt.Sprint(copied.DestUIDs) != "2" {
			t.Errorf("copy: %+v, %v", copied, err)
		}
		if _, err := c.Move(imap.UIDSetNum(2), "Nowhere").Wait(); err == nil || !strings.Contains(err.Error(), "TRYCREATE") {
			t.Errorf("move to nowhere: %v", err)
		}
		if err := c.Store(imap.UIDSet{{Start: 2, Stop: 3}}, &imap.StoreFlags{Op: imap.StoreFlagsAdd, Silent: true, Flags: []imap.Flag{imap.FlagDeleted}}, nil).Close(); err != nil {
			t.Fatal(err)
		}
		gone, err := c.UIDExpunge(imap.UIDSetNum(3)).Collect()
		if err != nil || !slices.Equal(gone, []uint32{2}) {
			t.Errorf("uid expunge: %v, %v, want the second of two", gone, err)
		}
		if f, _ := sb.Store().Folder(support, "INBOX"); len(f.Messages) != 1 || f.Messages[0].UID != 2 {
			t.Errorf("left: %+v", f.Messages)
		}
	})
	t.Run("folders", func(t *testing.T) {
		if err := c.Create("Failed/2026", nil).Wait(); err != nil {
			t.Fatal(err)
		}
		if err := c.Create("Failed/2026", nil).Wait(); err == nil || !strings.Contains(err.Error(), "ALREADYEXISTS") {
			t.Errorf("create twice: %v", err)
		}
		if err := c.Rename("Failed/2026", "Failed/2027", nil).Wait(); err != nil {
			t.Fatal(err)
		}
		appended := c.Append("Failed/2027", int64(len(letter(9))), &imap.AppendOptions{Flags: []imap.Flag{imap.FlagDraft}})
		if _, err := io.WriteString(appended, letter(9)); err != nil {
			t.Fatal(err)
		}
		if err := appended.Close(); err != nil {
			t.Fatal(err)
		}
		if data, err := appended.Wait(); err != nil || data.UID != 1 {
			t.Errorf("append: %+v, %v", data, err)
		}
		status, err := c.Status("Failed/2027", &imap.StatusOptions{NumMessages: true, UIDNext: true, UIDValidity: true, NumUnseen: true}).Wait()
		if err != nil || *status.NumMessages != 1 || status.UIDNext != 2 || status.UIDValidity == 0 {
			t.Errorf("status: %+v, %v", status, err)
		}
		if err := c.Delete("Failed/2027").Wait(); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Status("Failed/2027", &imap.StatusOptions{NumMessages: true}).Wait(); err == nil || !strings.Contains(err.Error(), "NONEXISTENT") {
			t.Errorf("status of a deleted folder: %v", err)
		}
		if err := c.Delete("INBOX").Wait(); err == nil {
			t.Error("INBOX was deleted")
		}
	})
}

func TestTwoSessionsSeeEachOthersChanges(t *testing.T) {
	sb := start(t, contoso())
	put(t, sb, support, letter(1), letter(2), letter(3))
	token := appToken(t, sb, service)
	a, b := dialWire(t, sb, sb.IMAPAddr()), dialWire(t, sb, sb.IMAPAddr())
	for _, w := range []*wire{a, b} {
		w.send("a AUTHENTICATE XOAUTH2 " + xoauth2(support, token))
		w.want("a OK")
		w.send("b SELECT INBOX")
		w.want("b OK")
	}
	a.send("c UID MOVE 1 Archive")
	a.want("* 1 EXPUNGE")
	a.want("c OK")
	a.send(`d UID STORE 2 +FLAGS (\Seen)`)
	a.want("d OK")
	put(t, sb, support, letter(4))
	// FETCH must not report EXPUNGE: the numbers of a running command would shift (RFC 3501 section 7.4.1).
	b.send("c FETCH 1 (UID BODY.PEEK[])")
	if got := b.want("* 1 FETCH"); !strings.Contains(got, "UID 1") {
		t.Errorf("a message that is gone but not reported yet: %s", got)
	}
	b.want("* 4 EXISTS")
	b.want("c OK")
	b.send("d NOOP")
	b.want("* 1 EXPUNGE")
	b.want("d OK")
	b.send("e FETCH 1 (UID FLAGS)")
	if got := b.want("* 1 FETCH"); got != `* 1 FETCH (UID 2 FLAGS (\Seen))` {
		t.Error(got)
	}
	b.want("e OK")
	if err := sb.Store().Renumber(support, "INBOX"); err != nil {
		t.Fatal(err)
	}
	b.send("f NOOP")
	b.want("* BYE")
	b.wantClosed()
}

func TestExaminedFolderCannotBeChanged(t *testing.T) {
	sb := start(t, contoso())
	put(t, sb, support, letter(1))
	c := openIMAP(t, sb, support, appToken(t, sb, service), nil)
	if _, err := c.Select("INBOX", &imap.SelectOptions{ReadOnly: true}).Wait(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Fetch(imap.SeqSetNum(1), &imap.FetchOptions{BodySection: []*imap.FetchItemBodySection{{}}}).Collect(); err != nil {
		t.Fatal(err)
	}
	if err := c.Store(imap.SeqSetNum(1), &imap.StoreFlags{Op: imap.StoreFlagsAdd, Flags: []imap.Flag{imap.FlagSeen}}, nil).Close(); err == nil {
		t.Error("flags were changed")
	}
	if _, err := c.Move(imap.SeqSetNum(1), "Archive").Wait(); err == nil {
		t.Error("message was moved")
	}
	if f, _ := sb.Store().Folder(support, "INBOX"); len(f.Messages) != 1 || f.Messages[0].Has(`\Seen`) {
		t.Errorf("folder changed: %+v", f.Messages)
	}
}

func TestIMAPConnectionLimit(t *testing.T) {
	c := contoso()
	c.Limits.IMAPConnections = 1
	sb := start(t, c)
	token := appToken(t, sb, service)
	openIMAP(t, sb, support, token, nil)
	second := dialIMAP(t, sb, sb.IMAPAddr(), nil)
	if got := textOf(second.Authenticate(&bearer{user: support, token: token})); !strings.HasPrefix(got, "Request is throttled. Suggested Backoff Time:") {
		t.Errorf("second connection: %q", got)
	}
	openIMAP(t, sb, sales, token, nil)
}

func TestSTARTTLS(t *testing.T) {
	c := contoso()
	c.IMAPSecurity = "starttls"
	sb := start(t, c)
	raw, err := net.Dial("tcp", sb.IMAPAddr())
	if err != nil {
		t.Fatal(err)
	}
	w := newWire(t, raw)
	w.send("a CAPABILITY")
	if got := w.want("* CAPABILITY"); !strings.Contains(got, "STARTTLS LOGINDISABLED") || strings.Contains(got, "AUTH=") {
		t.Error(got)
	}
	w.send("b LOGIN support pw")
	w.want("b NO [PRIVACYREQUIRED]")
	client, err := imapclient.DialStartTLS(sb.IMAPAddr(), &imapclient.Options{TLSConfig: tlsConfig(sb)})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Authenticate(&bearer{user: support, token: appToken(t, sb, service)}); err != nil {
		t.Error(err)
	}
}

func TestIMAPInTheClear(t *testing.T) {
	c := contoso()
	c.IMAPSecurity = "none"
	sb := start(t, c)
	client, err := imapclient.DialInsecure(sb.IMAPAddr(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Login(support, "pw").Wait(); err != nil {
		t.Error(err)
	}
}
