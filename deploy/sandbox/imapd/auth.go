package imapd

import (
	"slices"
	"strings"
	"time"

	"github.com/emersion/go-imap/v2"
	gosasl "github.com/emersion/go-sasl"

	"mailporter/sandbox/idp"
	"mailporter/sandbox/sasl"
)

// Gmail's answer to a bad token comes before its NO; the client must answer it with an empty line.
const gmailChallenge = `{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}`

var errMalformed = &imap.Error{Type: imap.StatusResponseTypeBad, Text: "Malformed SASL response"}

// AuthenticateMechanisms implements imapserver.SessionSASL.
func (s *session) AuthenticateMechanisms() []string { return s.server.profile.mechanisms }

// Authenticate implements imapserver.SessionSASL.
func (s *session) Authenticate(mechanism string) (gosasl.Server, error) {
	if !slices.Contains(s.server.profile.mechanisms, mechanism) {
		return nil, &imap.Error{Type: imap.StatusResponseTypeNo, Text: "Unsupported authentication mechanism"}
	}
	s.conn.set(func(o *outgoing) { o.verb = "AUTHENTICATE" })
	switch mechanism {
	case sasl.Plain:
		return sasl.PlainServer(errMalformed, s.password("authenticate")), nil
	case sasl.OAuthBearer:
		return sasl.Token(sasl.ParseOAuthBearer, errMalformed, s.bearer), nil
	}
	return sasl.Token(sasl.ParseXOAUTH2, errMalformed, s.bearer), nil
}

// Login implements imapserver.Session.
func (s *session) Login(user, password string) error {
	s.conn.set(func(o *outgoing) { o.verb = "LOGIN" })
	return s.password("login")(user, password)
}

func (s *session) password(step string) func(user, password string) error {
	return func(user, password string) error {
		s.mailbox = strings.ToLower(user)
		if err := s.step(step); err != nil {
			return s.refuse(err)
		}
		if !s.server.config.Directory.Password(user, password) || !s.here(user) {
			return s.refuse(s.server.profile.failed)
		}
		return s.admit(idp.Claims{})
	}
}

func (s *session) bearer(b sasl.Bearer) *sasl.Verdict {
	s.mailbox = strings.ToLower(b.User)
	claims, err := s.server.config.Issuer.Verify(b.Token)
	s.client = claims.Client
	if fail := s.step("authenticate"); fail != nil {
		return s.verdict(fail)
	}
	if err != nil || !s.here(b.User) || !s.mayUse(claims) {
		return s.verdict(s.server.profile.failed)
	}
	if err := s.admit(claims); err != nil {
		return &sasl.Verdict{Err: err}
	}
	return nil
}

func (s *session) verdict(err error) *sasl.Verdict {
	v := &sasl.Verdict{Err: s.refuse(err)}
	if s.server.config.Provider == Gmail && err == error(s.server.profile.failed) {
		v.Challenge = gmailChallenge
	}
	return v
}

func (s *session) refuse(err error) error {
	s.server.count(func(st *Stats) { st.Refused++ })
	return err
}

// here tells whether the mailbox is one of this provider's.
func (s *session) here(addr string) bool {
	_, google := s.server.config.Directory.GoogleUser(addr)
	return google == (s.server.config.Provider == Gmail)
}

// mayUse checks what a token must say for IMAP, whatever the mailbox.
func (s *session) mayUse(c idp.Claims) bool {
	if s.server.config.Provider == Gmail {
		return c.Tenant == idp.GoogleTenant && slices.Contains(c.Scopes, idp.GmailScope) && strings.EqualFold(c.User, s.mailbox)
	}
	return c.ForExchange() && c.Permits("IMAP.AccessAsApp", "IMAP.AccessAsUser.All")
}

// admit lets somebody in whose credential is good. Exchange finds out only later that a mailbox does not open to him.
func (s *session) admit(c idp.Claims) error {
	dir := s.server.config.Directory
	if s.server.config.Provider == Exchange {
		u, ok := dir.User(s.mailbox)
		s.unconnected = !ok || u.IMAPDisabled || (c.ID != "" && !dir.MayOpen(c, s.mailbox))
	} else if u, ok := dir.GoogleUser(s.mailbox); !ok || u.IMAPDisabled {
		return s.refuse(&imap.Error{
			Type: imap.StatusResponseTypeNo, Code: imap.ResponseCodeAlert,
			Text: "Your account is not enabled for IMAP use. Please visit your Gmail settings page and enable your account for IMAP access. (Failure)",
		})
	}
	if !s.server.opened(s.mailbox) {
		return s.server.profile.tooMany
	}
	s.conn.set(func(o *outgoing) { o.loggedIn, o.mailbox = true, s.mailbox })
	if s.server.profile.expires && c.ID != "" {
		s.expireAt(c.Expires.Add(-time.Nanosecond))
	}
	return nil
}
