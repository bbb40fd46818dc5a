package directory

import (
	"encoding/json"
	"fmt"
	"net/mail"
	"slices"
	"strings"
	"time"

	"mailporter/broker/internal/token"
	"mailporter/kit/config"
)

// The limits of token-expiry-margin-time: neither nothing nor an hour.
const (
	marginDefault = 10 * time.Second
	marginLowest  = time.Second
	marginHighest = time.Hour - time.Second
)

// readSection reads one side of a mailbox. m is layered: section, mailbox, application, defaults. inbound is the other side of
// an outbound one, or nil.
func (l *loader) readSection(m *config.Map, address string, d Direction, inbound *Section) *Section {
	s := &Section{Mailbox: address, Direction: d, Protocol: protocol(m, d)}
	s.Mechanism = mechanism(m, s)
	s.Endpoint.User = m.Text(loginOption(d), m.Text("address", address))
	s.Margin = m.Clock("token-expiry-margin-time", marginDefault, marginLowest, marginHighest)
	switch s.Mechanism {
	case NoLogin:
		s.Grant = token.None
	case BasicLogin:
		l.readBasic(m, s)
	default:
		l.readCredential(m, s)
	}
	l.readEndpoint(m, s)
	if d == Inbound {
		s.Fetch = readFetch(m, s.Protocol)
	} else {
		s.Post = readPost(m, s, inbound)
	}
	if m.Bool("enable-debug", false) {
		m.Warn("enable-debug", "has no effect here: wire traces would hold mail and credentials", "leave it out; use -log-level debug at the worker")
	}
	s.Version = version(s)
	return s
}

// warnUnused tells about an option of the section itself that belongs to another protocol.
func warnUnused(own *config.Map, p Protocol) {
	for _, other := range []Protocol{POP3, IMAP, SMTP, EWS, Graph} {
		if key := mechanismOption(other); other != p && own.HasHere(key) {
			own.Warn(key, fmt.Sprintf("has no effect: the section speaks %s", p), "leave it out")
		}
	}
	if p != POP3 && own.HasHere(twoLineOption) {
		own.Warn(twoLineOption, fmt.Sprintf("has no effect: the section speaks %s", p), "leave it out")
	}
	if p != EWS && own.HasHere("exchange-version") {
		own.Warn("exchange-version", fmt.Sprintf("has no effect: the section speaks %s", p), "leave it out")
	}
}

// protocol reads `type` of pop-client or `server-type` of smtp-client.
func protocol(m *config.Map, d Direction) Protocol {
	key, allowed := "type", []string{"POP3", "IMAP", "EWS", "GRAPH"}
	if d == Outbound {
		key, allowed = "server-type", []string{"SMTP", "EWS", "GRAPH"}
	}
	if !m.Has(key) {
		m.Complain(key, "is missing", "use one of: "+strings.Join(allowed, ", "))
		return Protocol(allowed[0])
	}
	return Protocol(m.OneOf(key, allowed[0], allowed...))
}

func loginOption(d Direction) string {
	if d == Inbound {
		return "mailbox"
	}
	return "user"
}

// mechanism reads mail.<type>.auth.mechanisms. Absent means basic authentication, but for GRAPH, which knows OAuth only,
// and for SMTP, which logs in if there is something to log in with, or if enable-authentication says so.
func mechanism(m *config.Map, s *Section) Mechanism {
	key := mechanismOption(s.Protocol)
	oauth := m.OneOf(key, "", string(XOAUTH2), string(OAUTHBEARER))
	on := m.Bool("enable-authentication", s.Protocol != SMTP || oauth != "" || m.Has("password"))
	switch {
	case !on && (s.Protocol != SMTP || oauth != ""):
		m.Complain("enable-authentication", fmt.Sprintf("false does not go with %s here", orType(oauth, s.Protocol)), "write true or leave it out")
		return BasicLogin
	case s.Protocol == Graph:
		return Bearer
	case oauth != "" && s.Protocol == EWS:
		return Bearer
	case oauth != "":
		return Mechanism(oauth)
	case !on:
		return NoLogin
	}
	return BasicLogin
}

func orType(oauth string, p Protocol) string {
	if oauth != "" {
		return oauth
	}
	return string(p)
}

func mechanismOption(p Protocol) string {
	return "mail." + strings.ToLower(string(p)) + ".auth.mechanisms"
}

func (l *loader) readBasic(m *config.Map, s *Section) {
	s.Grant = token.Basic
	s.Password = l.secret(m, "password")
	if s.Password.Empty() {
		l.missing(m, "password", "basic authentication needs the mailbox's password",
			fmt.Sprintf("write password: {file: PATH}, or %s: XOAUTH2", mechanismOption(s.Protocol)))
	}
}

func readFetch(m *config.Map, p Protocol) *Fetch {
	f := &Fetch{
		Folders:      m.Texts("folder-path"),
		Cycle:        m.Clock("cycle-time", time.Minute, time.Second, 24*time.Hour),
		MaxSize:      m.Size("maximum-msg-size", 0),
		MaxNumber:    m.Int("maximum-msg-number", 0, 0, 1_000_000),
		FailedFolder: m.Text("failed-items-folder-name", ""),
		DeliverTo:    m.Text("deliver-to", "default"),
	}
	if len(f.Folders) == 0 {
		f.Folders = []string{"INBOX"}
	}
	f.After, f.AfterFolder = disposition(m)
	f.Junk = m.OneOf("junk", junkDefault(p), "read", "count", "ignore")
	if p == POP3 {
		checkPOP3(m, f)
	}
	return f
}

func junkDefault(p Protocol) string {
	if p == POP3 {
		return "ignore"
	}
	return "count"
}

// disposition reads what becomes of a fetched message, in our words or in leave-msg-on-server.
func disposition(m *config.Map) (after, folder string) {
	const key, remedy = "disposition", "use keep, mark-read, move:FOLDER or delete"
	if m.Has(key) && m.Has("leave-msg-on-server") {
		m.Complain(key, "and leave-msg-on-server are both given", "keep one of them")
	}
	if m.Has("leave-msg-on-server") && !m.Bool("leave-msg-on-server", true) {
		return "delete", ""
	}
	s := m.Text(key, "keep")
	word, folder, moves := strings.Cut(s, ":")
	switch {
	case word == "move" && moves && folder != "":
		return "move", folder
	case !moves && slices.Contains([]string{"keep", "mark-read", "delete"}, word):
		return word, ""
	}
	m.Complain(key, fmt.Sprintf("%q is not allowed", s), remedy)
	return "keep", ""
}

// checkPOP3 complains about what POP3 has no command for: RFC 1939 has one maildrop, no flags and no folders.
func checkPOP3(m *config.Map, f *Fetch) {
	if f.After == "mark-read" || f.After == "move" {
		m.Complain("disposition", fmt.Sprintf("%q: POP3 has no flags and no folders", f.After), "use keep or delete")
	}
	if len(f.Folders) != 1 || !strings.EqualFold(f.Folders[0], "INBOX") {
		m.Complain("folder-path", "POP3 has no folders", "leave it out, or fetch by IMAP")
	}
	if f.Junk != "ignore" && m.Has("junk") {
		m.Complain("junk", "POP3 does not show the junk folder", "use ignore, or fetch by IMAP")
	}
	if f.FailedFolder != "" {
		m.Complain("failed-items-folder-name", "POP3 cannot move messages: failed ones stay where they are",
			`leave it out; where defaults have it, write failed-items-folder-name: "" at this mailbox`)
	}
}

func readPost(m *config.Map, s, inbound *Section) *Post {
	o := &Post{
		PoolSize:      m.Int("cnx-pool-size", 3, 1, 100), // Exchange Online allows 3 connections per mailbox
		CheckIdle:     m.Clock("cnx-check-idle-time", 30*time.Second, 0, 24*time.Hour),
		MaxIdle:       m.Clock("cnx-max-idle-time", 5*time.Minute, time.Second, 24*time.Hour),
		OnUnknown:     m.OneOf("on-unknown", "retry", "retry", "hold"),
		SenderAliases: m.Texts("sender-aliases"),
		AllowDelegate: m.Bool("allow-delegate", false),
		Limits:        readLimits(m, s),
		SentItems:     readSentItems(m, s, inbound),
	}
	for _, a := range o.SenderAliases {
		if !isAddress(a) && (!strings.HasPrefix(a, "*@") || !isAddress("x"+a[1:])) {
			m.Complain("sender-aliases", fmt.Sprintf("%q is no address", a), "write addresses, or *@domain for all of a domain")
		}
	}
	if o.AllowDelegate && s.Protocol != Graph {
		m.Warn("allow-delegate", fmt.Sprintf("has no effect with %s", s.Protocol), "leave it out")
	}
	return o
}

// isAddress says whether s is local@domain and nothing else.
func isAddress(s string) bool {
	a, err := mail.ParseAddress(s)
	return err == nil && a.Address == s && a.Name == "" && !strings.ContainsAny(s, " \t<>*")
}

// version names the settings that a worker is told. Secrets and tokens are no part of it.
func version(s *Section) string {
	told, err := json.Marshal([]any{s.Mailbox, s.Direction, s.Protocol, s.Mechanism, s.Margin, &s.Endpoint, s.Fetch, s.Post})
	if err != nil {
		panic("directory: settings do not encode: " + err.Error()) // plain values only: cannot happen
	}
	return digest(string(told))
}
