package smtpd

import (
	"slices"
	"strings"

	gosasl "github.com/emersion/go-sasl"

	"mailporter/sandbox/idp"
	"mailporter/sandbox/sasl"
)

// AuthMechanisms implements smtp.AuthSession.
func (s *session) AuthMechanisms() []string {
	if s.server.config.Provider == Gmail {
		return []string{sasl.Login, sasl.Plain, sasl.XOAUTH2, sasl.OAuthBearer}
	}
	return []string{sasl.Login, sasl.XOAUTH2, sasl.Plain}
}

// Auth implements smtp.AuthSession.
func (s *session) Auth(mechanism string) (gosasl.Server, error) {
	if !slices.Contains(s.AuthMechanisms(), mechanism) {
		return nil, refuse(504, 5, 7, 4, "Unrecognized authentication type")
	}
	switch mechanism {
	case sasl.Plain:
		return sasl.PlainServer(errMalformed, s.password), nil
	case sasl.Login:
		return sasl.LoginServer(s.password), nil
	case sasl.OAuthBearer:
		return sasl.Token(sasl.ParseOAuthBearer, errMalformed, s.bearer), nil
	}
	return sasl.Token(sasl.ParseXOAUTH2, errMalformed, s.bearer), nil
}

func (s *session) password(user, password string) error {
	if err := s.step("auth", user); err != nil {
		return s.refused(err)
	}
	dir := s.server.config.Directory
	if !dir.Password(user, password) || !s.here(user) {
		u, ok := dir.User(user)
		switch {
		case s.server.config.Provider == Gmail:
			return s.refused(errGmailCredentials)
		case ok && u.BasicDisabled:
			return s.refused(errBasicDisabled)
		}
		return s.refused(errCredentials)
	}
	return s.admit(user, idp.Claims{})
}

func (s *session) bearer(b sasl.Bearer) *sasl.Verdict {
	claims, err := s.server.config.Issuer.Verify(b.Token)
	s.claims = claims
	if fail := s.step("auth", b.User); fail != nil {
		return s.verdict(fail)
	}
	if err != nil || !s.here(b.User) || !s.mayUse(b.User) {
		return s.verdict(s.badCredential())
	}
	if err := s.admit(b.User, claims); err != nil {
		return &sasl.Verdict{Err: err}
	}
	return nil
}

func (s *session) verdict(err error) *sasl.Verdict {
	v := &sasl.Verdict{Err: s.refused(err)}
	if err == error(errGmailCredentials) {
		v.Challenge = gmailChallenge
	}
	return v
}

func (s *session) refused(err error) error {
	s.server.count(func(st *Stats) { st.Refused++ })
	return err
}

func (s *session) badCredential() error {
	if s.server.config.Provider == Gmail {
		return errGmailCredentials
	}
	return errUnsuccessful
}

// here tells whether the mailbox is one of this provider's.
func (s *session) here(addr string) bool {
	_, google := s.server.config.Directory.GoogleUser(addr)
	return google == (s.server.config.Provider == Gmail)
}

// mayUse checks what a token must say for SMTP, and whether it opens the mailbox.
func (s *session) mayUse(mailbox string) bool {
	c := s.claims
	if s.server.config.Provider == Gmail {
		return c.Tenant == idp.GoogleTenant && slices.Contains(c.Scopes, idp.GmailScope) && strings.EqualFold(c.User, mailbox)
	}
	return c.ForExchange() && c.Permits("SMTP.SendAsApp", "SMTP.Send") && s.server.config.Directory.MayOpen(c, mailbox)
}

// admit lets somebody in whose credential is good.
func (s *session) admit(user string, c idp.Claims) error {
	mailbox := strings.ToLower(user)
	if u, ok := s.server.config.Directory.User(mailbox); ok && u.SMTPDisabled {
		return s.refused(errSMTPDisabled)
	}
	if !s.server.opened(mailbox) {
		if s.server.config.Provider == Gmail {
			return errGmailTooMany
		}
		return errConcurrent
	}
	s.mailbox, s.claims = mailbox, c
	s.counted.Store(true)
	return nil
}
