package pop3d

import (
	"encoding/base64"
	"slices"
	"strings"
	"time"

	gosasl "github.com/emersion/go-sasl"

	"mailporter/sandbox/idp"
	"mailporter/sandbox/sasl"
)

// refusal is an answer that a login ends with.
type refusal string

func (r refusal) Error() string { return string(r) }

const (
	malformed   = refusal("-ERR Malformed SASL response")
	inUse       = refusal("-ERR [IN-USE] Another session has this mailbox open")
	unavailable = refusal("-ERR [SYS/TEMP] The mailbox is not available")
)

// recent is what a user name at Gmail begins with when messages are to be shown although they were handed out before.
const recent = "recent:"

// authenticate runs AUTH: RFC 5034.
func (s *session) authenticate(args []string) {
	if len(args) == 0 {
		s.lines("+OK", s.server.profile.mechanisms...)
		return
	}
	mechanism := s.mechanism(strings.ToUpper(args[0]))
	switch {
	case mechanism == nil:
		s.say("-ERR Unsupported authentication mechanism")
	case len(args) > 1 && !s.server.profile.oneLine:
		s.say("-ERR Protocol error. The initial response does not belong on this line.")
	default:
		s.exchange(mechanism, args[1:])
	}
}

func (s *session) mechanism(name string) gosasl.Server {
	if !slices.Contains(s.server.profile.mechanisms, name) {
		return nil
	}
	switch name {
	case sasl.Plain:
		return sasl.PlainServer(malformed, s.password)
	case sasl.OAuthBearer:
		return sasl.Token(sasl.ParseOAuthBearer, malformed, s.bearer)
	}
	return sasl.Token(sasl.ParseXOAUTH2, malformed, s.bearer)
}

// exchange passes challenges and responses until the mechanism is done.
func (s *session) exchange(m gosasl.Server, initial []string) {
	var response []byte
	if len(initial) > 0 {
		var err error
		if response, err = decoded(initial[0]); err != nil {
			s.say(string(malformed))
			return
		}
	}
	for {
		challenge, done, err := m.Next(response)
		switch {
		case err != nil:
			s.refuse(err)
			return
		case done:
			s.say(s.server.profile.welcome)
			return
		}
		s.say("+ " + base64.StdEncoding.EncodeToString(challenge))
		line, ok := s.readLine(maxResponse)
		if !ok {
			return
		}
		if line == "*" {
			s.say("-ERR Authentication cancelled")
			return
		}
		if response, err = decoded(line); err != nil {
			s.say(string(malformed))
			return
		}
	}
}

// decoded is never nil: to a mechanism that would mean that there was no response yet.
func decoded(s string) ([]byte, error) {
	if s == "" || s == "=" {
		return []byte{}, nil
	}
	return base64.StdEncoding.DecodeString(s)
}

func (s *session) refuse(err error) {
	if s.gone {
		return
	}
	s.server.count(func(st *Stats) { st.Refused++ })
	s.say(err.Error())
}

// password checks PASS and AUTH PLAIN.
func (s *session) password(user, password string) error {
	s.mailbox = strings.ToLower(strings.TrimPrefix(user, recent))
	if err := s.step("auth", s.server.profile.password); err != nil {
		return err
	}
	if !s.server.config.Directory.Password(s.mailbox, password) || !s.here() {
		return refusal(s.server.profile.password)
	}
	return s.admit(user, idp.Claims{})
}

func (s *session) bearer(b sasl.Bearer) *sasl.Verdict {
	s.mailbox = strings.ToLower(strings.TrimPrefix(b.User, recent))
	claims, err := s.server.config.Issuer.Verify(b.Token)
	s.client = claims.Client
	if fail := s.step("auth", s.server.profile.refused); fail != nil {
		return s.verdict(fail)
	}
	if err != nil || !s.here() || !s.mayUse(claims) {
		return s.verdict(refusal(s.server.profile.refused))
	}
	if err := s.admit(b.User, claims); err != nil {
		return &sasl.Verdict{Err: err}
	}
	return nil
}

func (s *session) verdict(err error) *sasl.Verdict {
	v := &sasl.Verdict{Err: err}
	if err.Error() == s.server.profile.refused {
		v.Challenge = s.server.profile.challenge
	}
	return v
}

// here tells whether the mailbox is one of this provider's.
func (s *session) here() bool {
	_, google := s.server.config.Directory.GoogleUser(s.mailbox)
	return google == (s.server.config.Provider == Gmail)
}

// mayUse checks what a token must say for POP3, and whether it opens the mailbox.
func (s *session) mayUse(c idp.Claims) bool {
	if s.server.config.Provider == Gmail {
		return c.Tenant == idp.GoogleTenant && slices.Contains(c.Scopes, idp.GmailScope) && strings.EqualFold(c.User, s.mailbox)
	}
	return c.ForExchange() && c.Permits("POP.AccessAsApp", "POP.AccessAsUser.All") && s.server.config.Directory.MayOpen(c, s.mailbox)
}

// admit opens the maildrop to somebody whose credential is good.
func (s *session) admit(user string, c idp.Claims) error {
	if s.disabled() {
		return refusal(s.server.profile.disabled)
	}
	g, _ := s.server.config.Directory.GoogleUser(s.mailbox)
	if strings.HasPrefix(user, recent) { // shows what was handed out before, and leaves a copy whatever the client does
		g.POPOnce, g.POPDelete = false, idp.POPKeep
	}
	drop, err := s.server.open(s.mailbox, g.POPOnce, g.POPDelete)
	switch {
	case err != nil:
		return unavailable
	case drop == nil:
		return inUse
	}
	s.drop = drop
	if s.server.profile.expires && c.ID != "" {
		s.expireAt(c.Expires.Add(-time.Nanosecond))
	}
	return nil
}

func (s *session) disabled() bool {
	if s.server.config.Provider == Gmail {
		u, ok := s.server.config.Directory.GoogleUser(s.mailbox)
		return !ok || u.POPDisabled
	}
	u, ok := s.server.config.Directory.User(s.mailbox)
	return !ok || u.POPDisabled
}
