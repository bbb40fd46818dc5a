package pop3_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/kit/tokenclient/brokertest"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/pop3"
	"mailporter/workers/internal/providertest"
)

// script is a server that says what it is told to: for what no library's server does. Keys are how a command begins, values
// the answer, several of them one after the other if the command comes again. The longest key that fits is taken, and a
// command without one gets a plain +OK.
type script map[string][]string

// scripted is a running script.
type scripted struct {
	mu      sync.Mutex
	answers script
	asked   map[string]int
	said    []string // commands
	logins  int
	open    int           // connections now
	most    int           // connections at a time
	linger  time.Duration // between the answer to QUIT and the end of the connection
}

func (s *scripted) commands(prefix string) (all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.said {
		if strings.HasPrefix(c, prefix) {
			all = append(all, c)
		}
	}
	return all
}

func (s *scripted) sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.logins
}

// play starts the script and a Source that reads from it with a password.
func play(t *testing.T, answers script, change func(*tokenclient.Settings)) (*pop3.Source, *scripted) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &scripted{answers: answers, asked: map[string]int{}}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { s.serve(c) })
		}
	})
	settings := tokenclient.Settings{
		Mailbox: support, Direction: tokenclient.Inbound, Protocol: tokenclient.POP3,
		Endpoint: tokenclient.Endpoint{Server: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, Security: tokenclient.PlainText,
			User: support, Mechanism: tokenclient.Basic, ConnectTimeout: 5 * time.Second, ProtocolTimeout: 5 * time.Second},
		Inbound: tokenclient.InboundSettings{Folders: []string{"INBOX"}, After: tokenclient.Delete},
	}
	change(&settings)
	broker := brokertest.New(t)
	broker.SetMailboxes(settings)
	src, err := pop3.New(pop3.Config{Settings: settings, Folder: "INBOX", Broker: broker.Client(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = l.Close()
		if err := src.Close(); err != nil {
			t.Error(err)
		}
		running.Wait()
	})
	return src, s
}

func (s *scripted) serve(c net.Conn) {
	defer c.Close()
	s.count(1)
	defer s.count(-1)
	if _, err := io.WriteString(c, s.answer("greeting")); err != nil {
		return
	}
	for in := bufio.NewReader(c); ; {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		command := strings.TrimSuffix(line, "\r\n")
		s.mu.Lock()
		s.said = append(s.said, command)
		s.mu.Unlock()
		if command == "" {
			command = "EMPTY" // the answer to a challenge
		}
		answer := s.answer(command)
		text, hangUp := strings.CutSuffix(answer, "<close>")
		if _, err := io.WriteString(c, text); err != nil || hangUp {
			return
		}
		if command == "QUIT" {
			time.Sleep(s.linger)
			return
		}
	}
}

// count takes note of connections that come and go.
func (s *scripted) count(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open += n
	s.most = max(s.most, s.open)
	s.logins += max(n, 0)
}

func (s *scripted) answer(command string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	best := ""
	for key := range s.answers {
		if strings.HasPrefix(command, key) && len(key) > len(best) {
			best = key
		}
	}
	all := s.answers[best]
	if len(all) == 0 {
		return "+OK\r\n"
	}
	n := s.asked[best]
	s.asked[best]++
	return all[min(n, len(all)-1)]
}

func once(text string) []string { return []string{text} }

const (
	capa      = "+OK\r\nUSER\r\nUIDL\r\n.\r\n"
	pipelined = "+OK\r\nUSER\r\nUIDL\r\nPIPELINING\r\n.\r\n"
	twoUIDLs  = "+OK\r\n1 aa\r\n2 bb\r\n.\r\n"
	twoSizes  = "+OK\r\n1 10\r\n2 10\r\n.\r\n"
	letterA   = "+OK\r\nSubject: a\r\n\r\n..a\r\n.\r\n"
	letterB   = "+OK\r\nSubject: b\r\n\r\nb\r\n.\r\n"
)

// two is a server with two messages.
func two(more script) script {
	s := script{"CAPA": once(capa), "UIDL": once(twoUIDLs), "LIST": once(twoSizes), "RETR 1": once(letterA), "RETR 2": once(letterB)}
	for key, answers := range more {
		s[key] = answers
	}
	return s
}

func nothing(*tokenclient.Settings) {}

func mustFail(t *testing.T, err error, kind fault.Kind, reason string) {
	t.Helper()
	var e *fault.Error
	if !errors.As(err, &e) || e.Kind != kind || e.Reason != reason {
		t.Errorf("%v (%s), want %s %s", err, fault.Of(err), kind, reason)
	}
}

func TestAPasswordGoesWithUSERAndPASS(t *testing.T) {
	src, s := play(t, two(nil), nothing)
	if p := providertest.Page(t, src, nil); len(p.Items) != 2 || p.Items[0].Size != 10 {
		t.Errorf("%+v", p)
	}
	if got := s.commands(""); len(got) < 3 || got[1] != "USER "+support || !strings.HasPrefix(got[2], "PASS ") {
		t.Errorf("commands %d", len(got))
	}
}

func TestAServerWithoutCAPA(t *testing.T) {
	src, s := play(t, two(script{"CAPA": once("-ERR unknown command\r\n")}), nothing)
	p := providertest.Page(t, src, nil)
	if got := string(providertest.Read(t, src, p.Items[0].ID)); got != "Subject: a\r\n\r\n.a\r\n" {
		t.Errorf("read %q", got)
	}
	if got := s.commands("RETR"); len(got) != 1 {
		t.Errorf("%q was asked for ahead of its turn", got)
	}
}

func TestTheNextMessagesAreAskedAhead(t *testing.T) {
	src, s := play(t, two(script{"CAPA": once(pipelined)}), func(s *tokenclient.Settings) { s.Inbound.After = tokenclient.Keep })
	p := providertest.Page(t, src, nil)
	r, err := src.Open(t.Context(), p.Items[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it is asked for anew
		if got := string(providertest.Read(t, src, p.Items[1].ID)); got != "Subject: b\r\n\r\nb\r\n" {
			t.Errorf("read %q", got)
		}
	}
	if got := s.commands("RETR"); !slices.Equal(got, []string{"RETR 1", "RETR 2", "RETR 2"}) {
		t.Errorf("%q", got)
	}
}

func TestWhatWillNotBeOpenedIsNotAskedFor(t *testing.T) {
	src, s := play(t, two(script{"CAPA": once(pipelined), "LIST": once("+OK\r\n1 10\r\n2 5000\r\n.\r\n")}),
		func(s *tokenclient.Settings) { s.Inbound.MaxSize = 4000 })
	providertest.Read(t, src, providertest.Page(t, src, nil).Items[0].ID)
	if got := s.commands("RETR"); !slices.Equal(got, []string{"RETR 1"}) {
		t.Errorf("%q", got)
	}
}

func TestWhatWasAskedAheadMayBePassedOver(t *testing.T) {
	var uidls, sizes strings.Builder
	answers := script{"CAPA": once(pipelined)}
	for i := 1; i <= 9; i++ {
		fmt.Fprintf(&uidls, "%d u%d\r\n", i, i)
		fmt.Fprintf(&sizes, "%d 10\r\n", i)
		answers[fmt.Sprintf("RETR %d", i)] = once(fmt.Sprintf("+OK\r\n%d\r\n.\r\n", i))
	}
	answers["UIDL"], answers["LIST"] = once("+OK\r\n"+uidls.String()+".\r\n"), once("+OK\r\n"+sizes.String()+".\r\n")
	answers["RETR 3"] = once("-ERR [SYS/TEMP] not now\r\n")
	src, s := play(t, answers, nothing)
	items := providertest.Page(t, src, nil).Items
	for _, n := range []int{1, 2, 5, 6, 2, 9, 1} { // 3 and 4 are left out; then back and forth
		if got := string(providertest.Read(t, src, items[n-1].ID)); got != fmt.Sprintf("%d\r\n", n) {
			t.Errorf("message %d is %q", n, got)
		}
	}
	_, err := src.Open(t.Context(), items[2].ID)
	mustFail(t, err, fault.Temporary, "SERVER_UNAVAILABLE")
	if got := string(providertest.Read(t, src, items[7].ID)); got != "8\r\n" {
		t.Errorf("after a refusal: %q", got)
	}
	if s.sessions() != 1 {
		t.Errorf("%d connections, want 1", s.sessions())
	}
}

func TestDeletionIsDoneWhenQUITSaysSo(t *testing.T) {
	for name, tc := range map[string]struct {
		more   script
		kind   fault.Kind
		reason string
		fails  bool
	}{
		"all is well":               {nil, 0, "", false},
		"pipelined":                 {script{"CAPA": once(pipelined)}, 0, "", false},
		"QUIT could not delete all": {script{"QUIT": once("-ERR some deleted messages not removed\r\n")}, fault.Temporary, "", true},
		"no answer to QUIT":         {script{"QUIT": once("<close>")}, fault.Temporary, "", true},
		"cut within DELE":           {script{"DELE 2": once("<close>")}, fault.Temporary, "", true},
		"a message is gone":         {script{"DELE 1": once("-ERR no such message\r\n"), "LIST 1": once("-ERR no such message\r\n")}, 0, "", false},
		"a message is kept":         {script{"DELE 1": once("-ERR not yours\r\n"), "LIST 1": once("+OK 1 10\r\n")}, fault.Temporary, "DELETE_REFUSED", true},
		"kept, pipelined": {script{"CAPA": once(pipelined), "DELE 2": once("-ERR not yours\r\n"), "LIST 2": once("+OK 2 10\r\n")},
			fault.Temporary, "DELETE_REFUSED", true},
	} {
		t.Run(name, func(t *testing.T) {
			src, s := play(t, two(tc.more), nothing)
			err := src.Settle(t.Context(), providertest.IDs(providertest.Page(t, src, nil)))
			if !tc.fails && err != nil {
				t.Errorf("settle: %v", err)
			} else if tc.fails {
				mustFail(t, err, tc.kind, tc.reason)
			}
			if got := s.commands("DELE"); !slices.Equal(got, []string{"DELE 1", "DELE 2"}) {
				t.Errorf("%q", got)
			}
			providertest.Page(t, src, nil) // in a session of its own
			if s.sessions() != 2 {
				t.Errorf("%d sessions, want 2", s.sessions())
			}
		})
	}
}

func TestTwinsAreDeletedTogether(t *testing.T) {
	src, s := play(t, two(script{"UIDL": once("+OK\r\n1 aa\r\n2 aa\r\n.\r\n")}), nothing)
	p := providertest.Page(t, src, nil)
	if p.Items[0].Key == p.Items[1].Key {
		t.Fatal("two messages have one key")
	}
	if err := src.Settle(t.Context(), providertest.IDs(p)[:1]); err != nil {
		t.Fatal(err)
	}
	if got := s.commands("DELE"); len(got) != 0 {
		t.Errorf("%q: the other one would take over the key", got)
	}
	if err := src.Settle(t.Context(), providertest.IDs(p)); err != nil {
		t.Fatal(err)
	}
	if got := s.commands("DELE"); len(got) != 2 {
		t.Errorf("%q", got)
	}
}

func TestAMessageThatIsNotShown(t *testing.T) {
	for name, tc := range map[string]struct {
		more script
		kind fault.Kind
	}{
		"gone":                   {script{"RETR 1": once("-ERR no such message\r\n"), "LIST 1": once("-ERR no such message\r\n")}, fault.Gone},
		"gone, pipelined":        {script{"CAPA": once(pipelined), "RETR 1": once("-ERR no such message\r\n"), "LIST 1": once("-ERR no such message\r\n")}, fault.Gone},
		"there":                  {script{"RETR 1": once("-ERR cannot\r\n"), "LIST 1": once("+OK 1 10\r\n")}, fault.Temporary},
		"there for good":         {script{"RETR 1": once("-ERR [SYS/PERM] corrupt\r\n")}, fault.Permanent},
		"the connection ends":    {script{"RETR 1": once("<close>")}, fault.Temporary},
		"ends within":            {script{"RETR 1": once("+OK\r\nSubject: x\r\n<close>")}, fault.Temporary},
		"ends before the dot":    {script{"RETR 1": once("+OK\r\nSubject: x\r\n.<close>")}, fault.Temporary},
		"something else is said": {script{"RETR 1": once("Subject: x\r\n")}, fault.Temporary},
	} {
		t.Run(name, func(t *testing.T) {
			src, _ := play(t, two(tc.more), nothing)
			p := providertest.Page(t, src, nil)
			r, err := src.Open(t.Context(), p.Items[0].ID)
			if err == nil {
				_, err = io.Copy(io.Discard, r)
				_ = r.Close()
			}
			if err == nil || fault.Of(err) != tc.kind {
				t.Errorf("%v (%s), want %s", err, fault.Of(err), tc.kind)
			}
			if got := string(providertest.Read(t, src, p.Items[1].ID)); got != "Subject: b\r\n\r\nb\r\n" {
				t.Errorf("the other one: %q", got)
			}
		})
	}
}

func TestServersThatWillNotDo(t *testing.T) {
	for name, tc := range map[string]struct {
		more   script
		kind   fault.Kind
		reason string
	}{
		"no UIDL":               {script{"CAPA": once("+OK\r\nUSER\r\n.\r\n"), "UIDL": once("-ERR unknown command\r\n")}, fault.Permanent, "UIDL_MISSING"},
		"no UIDL, and why":      {script{"CAPA": once("-ERR\r\n"), "UIDL": once("-ERR [SYS/TEMP] later\r\n")}, fault.Temporary, "SERVER_UNAVAILABLE"},
		"UIDL fails":            {script{"UIDL": once("-ERR oops\r\n")}, fault.Temporary, ""},
		"UIDL has no numbers":   {script{"UIDL": once("+OK\r\nhello\r\n.\r\n")}, fault.Temporary, ""},
		"LIST is nonsense":      {script{"LIST": once("+OK\r\n1 many\r\n.\r\n")}, fault.Temporary, ""},
		"LIST is cut":           {script{"LIST": once("+OK\r\n1 10\r\n<close>")}, fault.Temporary, ""},
		"the greeting says no":  {script{"greeting": once("-ERR [SYS/TEMP] full\r\n")}, fault.Temporary, "SERVER_UNAVAILABLE"},
		"no greeting of POP3":   {script{"greeting": once("220 mail ESMTP\r\n")}, fault.Temporary, ""},
		"in use":                {script{"PASS": once("-ERR [IN-USE] locked\r\n")}, fault.Temporary, "IN_USE"},
		"in use, in words":      {script{"PASS": once("-ERR maildrop already locked\r\n")}, fault.Temporary, "IN_USE"},
		"polled too often":      {script{"PASS": once("-ERR [LOGIN-DELAY] wait\r\n")}, fault.Throttled, "LOGIN_DELAY"},
		"wrong password":        {script{"PASS": once("-ERR no\r\n")}, fault.Auth, "AUTHENTICATION_FAILED"},
		"the user is not known": {script{"USER": once("-ERR no such user\r\n")}, fault.Auth, "AUTHENTICATION_FAILED"},
		"CAPA is cut":           {script{"CAPA": once("+OK\r\nUSER\r\n<close>")}, fault.Temporary, ""},
	} {
		t.Run(name, func(t *testing.T) {
			src, s := play(t, two(tc.more), nothing)
			_, err := src.List(t.Context(), nil, 10)
			mustFail(t, err, tc.kind, tc.reason)
			for _, line := range s.commands("PASS ") {
				if secret := strings.TrimPrefix(line, "PASS "); strings.Contains(err.Error(), secret) {
					t.Error("the error shows the password")
				}
			}
		})
	}
}

// TestTokenLogins: both forms of AUTH, challenges, and what servers say to the wrong form.
// One message without a UIDL, or with one that is none, hides no other.
func TestUIDLsThatAreNone(t *testing.T) {
	src, _ := play(t, two(script{"UIDL": once("+OK\r\n1 \r\n2 not one\r\n.\r\n")}), nothing)
	p := providertest.Page(t, src, nil)
	if len(p.Items) != 2 {
		t.Fatalf("%+v", p.Items)
	}
	_, err := src.Open(t.Context(), p.Items[0].ID)
	mustFail(t, err, fault.Permanent, "UIDL_MISSING")
	if got := string(providertest.Read(t, src, p.Items[1].ID)); got != "Subject: b\r\n\r\nb\r\n" {
		t.Errorf("the other one: %q", got)
	}
}

// Whoever logs in with a password has no use for what is to be done about an application.
func TestAWrongPasswordIsCalledThat(t *testing.T) {
	for _, said := range []string{"-ERR no", "-ERR [AUTH] bad login"} {
		src, _ := play(t, two(script{"PASS": once(said + "\r\n")}), nothing)
		_, err := src.List(t.Context(), nil, 10)
		mustFail(t, err, fault.Auth, "AUTHENTICATION_FAILED")
		if !strings.Contains(err.Error(), "check user and password") || strings.Contains(err.Error(), "application") {
			t.Error(err)
		}
	}
}

func TestTokenLogins(t *testing.T) {
	const (
		no        = "-ERR [AUTH] no\r\n"
		challenge = "+ eyJzdGF0dXMiOiI0MDEifQ==\r\n" // {"status":"401"}
	)
	for name, tc := range map[string]struct {
		mechanism tokenclient.Mechanism
		twoLine   bool
		more      script
		kind      fault.Kind
		reason    string
		text      string // part of the error; empty = works
	}{
		"one line":                 {tokenclient.XOAUTH2, false, nil, 0, "", ""},
		"two lines":                {tokenclient.XOAUTH2, true, script{"AUTH": once("+ \r\n")}, 0, "", ""},
		"two lines, a bare plus":   {tokenclient.XOAUTH2, true, script{"AUTH": once("+\r\n")}, 0, "", ""},
		"two lines, a text":        {tokenclient.XOAUTH2, true, script{"AUTH": once("+ go on\r\n")}, 0, "", ""},
		"bearer":                   {tokenclient.OAUTHBEARER, false, nil, 0, "", ""},
		"bearer, two lines":        {tokenclient.OAUTHBEARER, true, script{"AUTH": once("+ \r\n")}, 0, "", ""},
		"refused at once":          {tokenclient.XOAUTH2, false, script{"AUTH": once(no)}, fault.Auth, "AUTHENTICATION_FAILED", "POP3 is enabled"},
		"refused, with a reason":   {tokenclient.XOAUTH2, false, script{"AUTH": once(challenge), "EMPTY": once(no)}, fault.Auth, "AUTHENTICATION_FAILED", "status 401"},
		"bearer, with a reason":    {tokenclient.OAUTHBEARER, false, script{"AUTH": once(challenge), "AQ==": once(no)}, fault.Auth, "AUTHENTICATION_FAILED", "status 401"},
		"refused on two lines":     {tokenclient.XOAUTH2, true, script{"AUTH": once("+ \r\n"), "dXNlcj": once("-ERR Logon failure: unknown user name or bad password.\r\n")}, fault.Auth, "AUTHENTICATION_FAILED", "PopEnabled"},
		"the wrong form":           {tokenclient.XOAUTH2, false, script{"AUTH": once("-ERR Protocol error. Connection is closed. 10\r\n<close>")}, fault.Temporary, "AUTH_FORMAT_REFUSED", "two.line"},
		"perhaps the wrong form":   {tokenclient.XOAUTH2, false, script{"AUTH": once("-ERR no\r\n")}, fault.Auth, "AUTHENTICATION_FAILED", "two.line"},
		"asked for ever":           {tokenclient.XOAUTH2, false, script{"AUTH": once(challenge), "EMPTY": once(challenge)}, fault.Temporary, "", "challenge"},
		"refused and let in":       {tokenclient.XOAUTH2, false, script{"AUTH": once(challenge), "EMPTY": once("+OK\r\n")}, fault.Temporary, "", "let it in"},
		"locked":                   {tokenclient.XOAUTH2, false, script{"AUTH": once("-ERR [IN-USE] x\r\n")}, fault.Temporary, "IN_USE", "other programs"},
		"the validator is away":    {tokenclient.XOAUTH2, false, script{"AUTH": once("-ERR [SYS/TEMP] x\r\n")}, fault.Temporary, "SERVER_UNAVAILABLE", "x"},
		"the connection just ends": {tokenclient.XOAUTH2, false, script{"AUTH": once("<close>")}, fault.Temporary, "", "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			src, s := play(t, two(tc.more), func(s *tokenclient.Settings) {
				s.Endpoint.Mechanism, s.Endpoint.TwoLine = tc.mechanism, tc.twoLine
			})
			_, err := src.List(t.Context(), nil, 10)
			if tc.text != "" {
				mustFail(t, err, tc.kind, tc.reason)
				if !strings.Contains(err.Error(), tc.text) {
					t.Errorf("%v does not say %q", err, tc.text)
				}
			} else if err != nil {
				t.Error(err)
			}
			if auth := s.commands("AUTH"); len(auth) == 0 || tc.twoLine != (auth[0] == "AUTH "+tc.mechanism.String()) {
				t.Errorf("%d AUTH, two lines: %t", len(auth), tc.twoLine)
			}
		})
	}
}

func TestPlainWhereThereIsNoUSER(t *testing.T) {
	src, s := play(t, two(script{"CAPA": once("+OK\r\nUIDL\r\nSASL PLAIN\r\n.\r\n"), "AUTH": once("+ \r\n")}), nothing)
	providertest.Page(t, src, nil)
	if got := s.commands("AUTH"); !slices.Equal(got, []string{"AUTH PLAIN"}) || len(s.commands("USER")) > 0 {
		t.Errorf("%q", got)
	}
}

func TestTheBrokerLearnsWhoRefused(t *testing.T) {
	answers := two(script{"AUTH": once("-ERR [AUTH] Username and password not accepted.\r\n")})
	var where string
	src, _ := play(t, answers, func(s *tokenclient.Settings) {
		s.Endpoint.Mechanism = tokenclient.XOAUTH2
		where = fmt.Sprintf("127.0.0.1:%d", s.Endpoint.Port)
	})
	_, err := src.List(t.Context(), nil, 10)
	var r interface{ Refusal() tokenclient.Refusal }
	if !errors.As(err, &r) {
		t.Fatalf("%v says nothing for the broker", err)
	}
	if got := r.Refusal(); got.Server != where || got.Reply != "-ERR [AUTH] Username and password not accepted." || got.Kind != tokenclient.RefusedBySASL {
		t.Errorf("%+v", got)
	}
}

func TestSTLSMustBeTheServersLastWordInTheClear(t *testing.T) {
	src, _ := play(t, two(script{"STLS": once("+OK\r\n+OK injected\r\n")}), func(s *tokenclient.Settings) { s.Endpoint.Security = tokenclient.StartTLS })
	if _, err := src.List(t.Context(), nil, 10); err == nil || !strings.Contains(err.Error(), "before TLS") {
		t.Errorf("%v", err)
	}
}

func TestWithoutSTLSNoCredentialGoesOut(t *testing.T) {
	src, s := play(t, two(script{"STLS": once("-ERR what?\r\n")}), func(s *tokenclient.Settings) { s.Endpoint.Security = tokenclient.StartTLS })
	if _, err := src.List(t.Context(), nil, 10); err == nil {
		t.Error("listed without TLS")
	}
	if got := s.commands(""); !slices.Equal(got, []string{"STLS"}) {
		t.Errorf("%q", got)
	}
}

func TestYieldQuits(t *testing.T) {
	src, s := play(t, two(nil), func(s *tokenclient.Settings) { s.Inbound.After = tokenclient.Keep })
	at := providertest.Page(t, src, nil).Next
	for range 2 {
		src.Yield()
	}
	if got := s.commands("QUIT"); len(got) != 1 {
		t.Errorf("%q", got)
	}
	if p := providertest.Page(t, src, at); len(p.Items) != 0 || s.sessions() != 2 {
		t.Errorf("%d items, %d sessions", len(p.Items), s.sessions())
	}
}

// TestTheNextSessionWaitsForTheEndOfTheLast: between its answer to QUIT and the end of the connection the server takes the
// lock off.
func TestTheNextSessionWaitsForTheEndOfTheLast(t *testing.T) {
	src, s := play(t, two(nil), nothing)
	s.linger = 50 * time.Millisecond
	for range 3 {
		if err := src.Settle(t.Context(), providertest.IDs(providertest.Page(t, src, nil))); err != nil {
			t.Fatal(err)
		}
		providertest.Page(t, src, nil)
		src.Yield()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.logins != 6 || s.most != 1 {
		t.Errorf("%d sessions, %d of them at a time, want one", s.logins, s.most)
	}
}

func TestOneSessionServesManyPages(t *testing.T) {
	src, s := play(t, two(nil), func(s *tokenclient.Settings) { s.Inbound.After = tokenclient.Keep })
	var at inbound.Cursor
	for more := true; more; {
		p, err := src.List(t.Context(), at, 1)
		if err != nil {
			t.Fatal(err)
		}
		providertest.Read(t, src, p.Items[0].ID)
		if err := src.Settle(t.Context(), providertest.IDs(p)); err != nil {
			t.Fatal(err)
		}
		at, more = p.Next, p.More
	}
	if s.sessions() != 1 || len(s.commands("UIDL")) != 1 || len(s.commands("LIST")) != 1 {
		t.Errorf("%d sessions: %q", s.sessions(), s.commands(""))
	}
}

// TestAHundredThousandMessages: one session, one listing, eight bytes a message, and nothing again.
func TestAHundredThousandMessages(t *testing.T) {
	const n = 100_000
	var uidls, sizes strings.Builder
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&uidls, "%d AAMkADQ5OTc2LWI4-%d\r\n", i, i)
		fmt.Fprintf(&sizes, "%d %d\r\n", i, i)
	}
	src, s := play(t, script{"CAPA": once(capa), "UIDL": once("+OK\r\n" + uidls.String() + ".\r\n"), "LIST": once("+OK\r\n" + sizes.String() + ".\r\n")},
		func(s *tokenclient.Settings) { s.Inbound.After = tokenclient.Keep })
	var at inbound.Cursor
	keys := map[string]bool{}
	for len(keys) < n {
		p, err := src.List(t.Context(), at, 1000)
		if err != nil || len(p.Items) != 1000 {
			t.Fatalf("%d items, %v", len(p.Items), err)
		}
		for _, it := range p.Items {
			keys[it.Key] = true
		}
		at = p.Next
	}
	if s.sessions() != 1 || len(s.commands("UIDL")) != 1 || len(at) > 8*n+100 {
		t.Errorf("%d sessions, %d listings, a cursor of %d bytes", s.sessions(), len(s.commands("UIDL")), len(at))
	}
	if p := providertest.Page(t, src, slices.Clone(at)); len(p.Items) != 0 || p.More || len(p.Next) != len(at) {
		t.Errorf("again: %d items, more: %t, a cursor of %d bytes", len(p.Items), p.More, len(p.Next))
	}
	if len(s.commands("LIST")) != 1 {
		t.Error("sizes were asked for where nothing is new")
	}
}

func TestAContextEndsACall(t *testing.T) {
	src, _ := play(t, two(script{"UIDL": once("")}), nothing) // no answer at all
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := src.List(ctx, nil, 10); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("list: %v", err)
	}
}
