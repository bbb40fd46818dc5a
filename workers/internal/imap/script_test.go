package imap_test

import (
	"bufio"
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
	wfault "mailporter/workers/internal/fault"
	"mailporter/workers/internal/imap"
	"mailporter/workers/internal/providertest"
)

// script is a server that says what it is told to: for what no library's server does. Keys are how a command begins,
// without its tag; values are the answer, in which TAG stands for the tag. The longest key that fits is taken, and a
// command without one gets a plain OK.
type script map[string]string

// scripted is a running script.
type scripted struct {
	mu    sync.Mutex
	said  []string // commands without their tags
	lines []string // as they came
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

// play starts the script and a Source that reads from it with a password.
func play(t *testing.T, answers script, change func(*tokenclient.Settings)) (*imap.Source, *scripted) {
	t.Helper()
	return playFolder(t, answers, "INBOX", change)
}

func playFolder(t *testing.T, answers script, folder string, change func(*tokenclient.Settings)) (*imap.Source, *scripted) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &scripted{}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { s.serve(c, answers) })
		}
	})
	settings := tokenclient.Settings{
		Mailbox: support, Direction: tokenclient.Inbound, Protocol: tokenclient.IMAP,
		Endpoint: tokenclient.Endpoint{Server: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, Security: tokenclient.PlainText,
			User: support, Mechanism: tokenclient.Basic, ConnectTimeout: 5 * time.Second, ProtocolTimeout: 5 * time.Second},
		Inbound: tokenclient.InboundSettings{Folders: []string{"INBOX"}, After: tokenclient.Delete, AfterFolder: "Done"},
	}
	change(&settings)
	broker := brokertest.New(t)
	broker.SetMailboxes(settings)
	src, err := imap.New(imap.Config{Settings: settings, Folder: folder, Broker: broker.Client(t)})
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

func (s *scripted) serve(c net.Conn, answers script) {
	defer c.Close()
	if _, err := io.WriteString(c, answers["greeting"]); err != nil {
		return
	}
	for in := bufio.NewScanner(c); in.Scan(); {
		tag, command, _ := strings.Cut(in.Text(), " ")
		s.mu.Lock()
		s.said, s.lines = append(s.said, command), append(s.lines, in.Text())
		s.mu.Unlock()
		answer := "TAG OK done\r\n"
		if in.Text() == "" {
			answer = "" // the answer to a challenge has no tag
		}
		var longest int
		for key, a := range answers {
			if strings.HasPrefix(command, key) && len(key) > longest {
				longest, answer = len(key), a
			}
		}
		if _, err := io.WriteString(c, strings.ReplaceAll(answer, "TAG", tag)); err != nil || strings.Contains(answer, "* BYE") {
			return
		}
	}
}

const (
	header = "Message-ID: <a@b>\r\n\r\n"
	whole  = "Message-ID: <a@b>\r\n\r\nbody\r\n"
)

// inboxOf is a script of an inbox with one message, UID 7, and these capabilities.
func inboxOf(caps string) script {
	return script{
		"greeting":   "* OK [CAPABILITY " + strings.TrimSpace("IMAP4rev1 "+caps) + "] ready\r\n",
		"CAPABILITY": "* CAPABILITY " + strings.TrimSpace("IMAP4rev1 "+caps) + "\r\nTAG OK done\r\n",
		"SELECT":     "* 1 EXISTS\r\n* OK [UIDVALIDITY 3] x\r\n* OK [UIDNEXT 8] x\r\nTAG OK [READ-WRITE] done\r\n",
		"EXAMINE":    "* 1 EXISTS\r\n* OK [UIDVALIDITY 3] x\r\n* OK [UIDNEXT 8] x\r\nTAG OK [READ-ONLY] done\r\n",
		"UID SEARCH": "* SEARCH 7\r\nTAG OK done\r\n",
		"UID FETCH 7 (UID": fmt.Sprintf(`* 1 FETCH (UID 7 INTERNALDATE "01-Mar-2026 12:00:00 +0000" RFC822.SIZE %d BODY[HEADER.FIELDS ("Message-ID")] {%d}`,
			len(whole), len(header)) + "\r\n" + header + ")\r\nTAG OK done\r\n",
		"UID FETCH 7 (UID BODY.PEEK[])": fmt.Sprintf("* 1 FETCH (UID 7 BODY[] {%d}\r\n%s)\r\nTAG OK done\r\n", len(whole), whole),
		"UID FETCH 7 (UID RFC822.SIZE)": "* 1 FETCH (UID 7 RFC822.SIZE 3)\r\nTAG OK done\r\n",
	}
}

func same(*tokenclient.Settings) {}

func TestWithoutUIDPLUSNothingIsExpunged(t *testing.T) {
	for name, after := range map[string]tokenclient.After{"delete": tokenclient.Delete, "move": tokenclient.Move} {
		t.Run(name, func(t *testing.T) {
			src, server := play(t, inboxOf(""), func(s *tokenclient.Settings) { s.Inbound.After = after })
			p := providertest.Page(t, src, nil)
			if err := src.Settle(t.Context(), providertest.IDs(p)); err != nil {
				t.Fatal(err)
			}
			if got := append(server.commands("EXPUNGE"), server.commands("UID EXPUNGE")...); len(got) > 0 {
				t.Errorf("sent %v: it takes what others flagged", got)
			}
			if got := server.commands("UID STORE 7 +FLAGS.SILENT (\\Deleted)"); len(got) != 1 {
				t.Errorf("flagged %d times, want once", len(got))
			}
			if got := server.commands("UID COPY 7"); (len(got) == 1) != (after == tokenclient.Move) {
				t.Errorf("copied: %v", got)
			}
			providertest.Page(t, src, nil)
			if got := server.commands("UID SEARCH"); !strings.Contains(got[len(got)-1], "UNDELETED") {
				t.Errorf("searched with %q: what is flagged was settled already", got)
			}
		})
	}
}

func TestWithUIDPLUSOnlyTheOwnAreExpunged(t *testing.T) {
	src, server := play(t, inboxOf("UIDPLUS"), func(s *tokenclient.Settings) { s.Inbound.After = tokenclient.Move })
	if err := src.Settle(t.Context(), providertest.IDs(providertest.Page(t, src, nil))); err != nil {
		t.Fatal(err)
	}
	want := []string{"UID EXPUNGE 7"}
	if got := server.commands("UID EXPUNGE"); !slices.Equal(got, want) || len(server.commands("EXPUNGE")) > 0 {
		t.Errorf("sent %v, want %v", got, want)
	}
}

func TestKeepOpensReadOnly(t *testing.T) {
	src, server := play(t, inboxOf(""), func(s *tokenclient.Settings) { s.Inbound.After = tokenclient.Keep })
	p := providertest.Page(t, src, nil)
	if got := string(providertest.Read(t, src, p.Items[0].ID)); got != whole {
		t.Errorf("read %q", got)
	}
	if len(server.commands("EXAMINE")) != 1 || len(server.commands("SELECT")) != 0 {
		t.Error("a folder that is only read was opened for changes")
	}
}

func TestAnswersThatMislead(t *testing.T) {
	tests := []struct {
		name    string
		command string
		answer  string
		kind    wfault.Kind
	}{
		{"BODY before UID", "UID FETCH 7 (UID BODY.PEEK[])", fmt.Sprintf("* 1 FETCH (BODY[] {%d}\r\n%s UID 7)\r\nTAG OK done\r\n", len(whole), whole), wfault.Temporary},
		{"body NIL", "UID FETCH 7 (UID BODY.PEEK[])", "* 1 FETCH (UID 7 BODY[] NIL)\r\nTAG OK done\r\n", wfault.Permanent},
		{"no body", "UID FETCH 7 (UID BODY.PEEK[])", "TAG OK done\r\n", wfault.Temporary},
		{"NO after the body", "UID FETCH 7 (UID BODY.PEEK[])", fmt.Sprintf("* 1 FETCH (UID 7 BODY[] {%d}\r\n%s)\r\nTAG NO some of it\r\n", len(whole), whole), wfault.Temporary},
		{"the link ends within", "UID FETCH 7 (UID BODY.PEEK[])", "* 1 FETCH (UID 7 BODY[] {100}\r\nabc\r\n* BYE enough\r\n", wfault.Temporary},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			answers := inboxOf("")
			answers[test.command] = test.answer
			src, _ := play(t, answers, same)
			r, err := src.Open(t.Context(), providertest.Page(t, src, nil).Items[0].ID)
			if err == nil {
				_, err = io.ReadAll(r)
				_ = r.Close()
			}
			if err == nil || wfault.Of(err) != test.kind {
				t.Errorf("%v (%s), want %s", err, wfault.Of(err), test.kind)
			}
		})
	}
}

func TestAListThatLeavesMessagesOut(t *testing.T) {
	answers := inboxOf("")
	answers["UID FETCH 7 (UID"] = "TAG OK done\r\n"
	src, _ := play(t, answers, same)
	var e *wfault.Error
	if _, err := src.List(t.Context(), nil, 10); !errors.As(err, &e) || e.Reason != "FETCH_INCOMPLETE" {
		t.Errorf("list: %v, want FETCH_INCOMPLETE", err)
	}
}

func TestTheReasonOfABYEIsKept(t *testing.T) {
	answers := inboxOf("")
	answers["UID SEARCH"] = "* BYE Connection is closed. 13\r\n"
	src, _ := play(t, answers, same)
	if _, err := src.List(t.Context(), nil, 10); err == nil || !strings.Contains(err.Error(), "Connection is closed. 13") {
		t.Errorf("list: %v does not tell what the server said", err)
	}
}

func TestExchangesBrokenOKIsTemporary(t *testing.T) {
	answers := inboxOf("AUTH=PLAIN SASL-IR")
	answers["AUTHENTICATE"] = `TAG OK [Error="WrongServerException: Cross Server access is not allowed" Proxy="x"] AUTHENTICATE completed.` + "\r\n"
	src, _ := play(t, answers, same)
	if _, err := src.List(t.Context(), nil, 10); err == nil || wfault.Of(err) != wfault.Temporary {
		t.Errorf("list: %v (%s), want a temporary error", err, wfault.Of(err))
	}
}

func TestAServerWithoutUIDVALIDITY(t *testing.T) {
	answers := inboxOf("")
	answers["SELECT"] = "* 1 EXISTS\r\nTAG OK done\r\n"
	src, _ := play(t, answers, same)
	if _, err := src.List(t.Context(), nil, 10); err == nil || !strings.Contains(err.Error(), "UIDVALIDITY") {
		t.Errorf("list: %v", err)
	}
}

func TestAServerThatWantsNoPassword(t *testing.T) {
	src, server := play(t, inboxOf("LOGINDISABLED"), same)
	if _, err := src.List(t.Context(), nil, 10); err == nil || len(server.commands("LOGIN")) > 0 {
		t.Errorf("list: %v; sent %v", err, server.commands("LOGIN"))
	}
}

// Whoever logs in with a password has no use for what is to be done about an application.
func TestAWrongPasswordIsCalledThat(t *testing.T) {
	for _, said := range []string{"TAG NO Login failed.\r\n", "TAG NO [AUTHENTICATIONFAILED] no\r\n"} {
		answers := inboxOf("")
		answers["LOGIN"] = said
		src, _ := play(t, answers, same)
		_, err := src.List(t.Context(), nil, 10)
		if err == nil || !strings.Contains(err.Error(), "check user and password") || strings.Contains(err.Error(), "application") {
			t.Error(err)
		}
	}
}

// TestAnErrorChallengeIsAnsweredWithAnEmptyLine: servers that are strict say BAD to "=", and the reason is lost.
func TestAnErrorChallengeIsAnsweredWithAnEmptyLine(t *testing.T) {
	answers := inboxOf("AUTH=XOAUTH2 SASL-IR")
	answers["AUTHENTICATE XOAUTH2"] = "+ eyJzdGF0dXMiOiI0MDEifQ==\r\n"
	src, server := play(t, answers, func(s *tokenclient.Settings) {
		s.Endpoint.Mechanism, s.Endpoint.ProtocolTimeout = tokenclient.XOAUTH2, 300*time.Millisecond
	})
	if _, err := src.List(t.Context(), nil, 10); err == nil {
		t.Error("a challenge without an end was taken for success")
	}
	server.mu.Lock()
	defer server.mu.Unlock()
	if !slices.Contains(server.lines, "") || slices.Contains(server.lines, "=") {
		t.Errorf("answered with %q", server.lines)
	}
}
