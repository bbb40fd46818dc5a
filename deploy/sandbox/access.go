package sandbox

import (
	"fmt"
	"net"

	"mailporter/sandbox/admin"
	"mailporter/sandbox/ewsd"
	"mailporter/sandbox/fault"
	"mailporter/sandbox/idp"
	"mailporter/sandbox/mailstore"
)

// CAPEM is the certificate of the authority that clients must trust.
func (s *Sandbox) CAPEM() []byte { return s.ca.PEM() }

// Authority is the base URL of the Entra half: Authority() + "/" + tenant + "/oauth2/v2.0/token" and so on.
func (s *Sandbox) Authority() string { return fmt.Sprintf("https://localhost:%d", s.port("identity")) }

// GoogleAuthority is the base URL of the Google half: GoogleAuthority() + "/token", "/tokeninfo", "/revoke".
func (s *Sandbox) GoogleAuthority() string { return s.Authority() + "/google" }

// Federation is the base URL of the federation server: the same server as Authority, under another name.
func (s *Sandbox) Federation() string { return "https://" + s.addr("identity") }

// IMAPAddr is host:port of the Exchange-like IMAP server.
func (s *Sandbox) IMAPAddr() string { return s.addr("imap") }

// SMTPAddr is host:port of the Exchange-like submission server (STARTTLS).
func (s *Sandbox) SMTPAddr() string { return s.addr("smtp") }

// POP3Addr is host:port of the Exchange-like POP3 server.
func (s *Sandbox) POP3Addr() string { return s.addr("pop3") }

// GmailPOP3Addr is host:port of the Gmail-like POP3 server.
func (s *Sandbox) GmailPOP3Addr() string { return s.addr("gmail-pop3") }

// GmailIMAPAddr is host:port of the Gmail-like IMAP server.
func (s *Sandbox) GmailIMAPAddr() string { return s.addr("gmail-imap") }

// GmailSMTPAddr is host:port of the Gmail-like submission server (TLS from the first byte).
func (s *Sandbox) GmailSMTPAddr() string { return s.addr("gmail-smtp") }

// GraphURL is the base URL of Microsoft Graph: GraphURL() + "/v1.0/users/...".
func (s *Sandbox) GraphURL() string { return fmt.Sprintf("https://localhost:%d", s.port("graph")) }

// EWSURL is the address of Exchange Web Services.
func (s *Sandbox) EWSURL() string {
	return fmt.Sprintf("https://localhost:%d%s", s.port("ews"), ewsd.Path)
}

// ForgetSync voids all sync states of Exchange Web Services.
func (s *Sandbox) ForgetSync() { s.ews.Forget() }

// ForgetDelta voids all delta links of Graph.
func (s *Sandbox) ForgetDelta() { s.graph.Forget() }

// AdminURL is the base URL of the admin API.
func (s *Sandbox) AdminURL() string { return "http://" + s.addr("admin") }

// Store is the mail store behind all servers.
func (s *Sandbox) Store() *mailstore.Store { return s.store }

// Faults is the plan of what goes wrong; empty at the start.
func (s *Sandbox) Faults() *fault.Plan { return s.faults }

// Directory is who exists; applications and users may be changed in it while the sandbox runs.
func (s *Sandbox) Directory() *idp.Directory { return s.directory }

// Issuer makes, checks and revokes tokens.
func (s *Sandbox) Issuer() *idp.Issuer { return s.issuer }

// TokenRequests counts the token requests so far.
func (s *Sandbox) TokenRequests() idp.Requests { return s.identity.Requests() }

// Outbound returns what was sent to foreign domains, oldest first.
func (s *Sandbox) Outbound() []*mailstore.Outbound { return s.store.Outbound() }

// IssueRefreshToken makes a refresh token as if the user had just consented. tenant is a directory id, or "google"; scopes
// carry their resource ("https://outlook.office.com/IMAP.AccessAsUser.All").
func (s *Sandbox) IssueRefreshToken(tenant, clientID, user string, scopes ...string) string {
	token, err := s.identity.IssueRefreshToken(tenant, clientID, user, scopes)
	if err != nil { // sealing a few strings in memory does not fail
		panic(fmt.Sprintf("sandbox: issue refresh token: %v", err))
	}
	return token
}

// Stats returns the counts of all servers.
func (s *Sandbox) Stats() admin.Stats {
	return admin.Stats{
		TokenRequests: s.TokenRequests(),
		IMAP:          s.imap[0].Stats(), GmailIMAP: s.imap[1].Stats(),
		POP3: s.pop3[0].Stats(), GmailPOP3: s.pop3[1].Stats(),
		SMTP: s.smtp[0].Stats(), GmailSMTP: s.smtp[1].Stats(), Graph: s.graph.Stats(), EWS: s.ews.Stats(),
		Outbound: len(s.store.Outbound()),
	}
}

func (s *Sandbox) addr(name string) string { return s.listeners[name].Addr().String() }

func (s *Sandbox) port(name string) int {
	if a, ok := s.listeners[name].Addr().(*net.TCPAddr); ok {
		return a.Port
	}
	return 0
}

// Endpoints names every address that clients need.
func (s *Sandbox) Endpoints() map[string]string {
	return map[string]string{
		"authority": s.Authority(), "google-authority": s.GoogleAuthority(), "admin": s.AdminURL(),
		"imap": s.IMAPAddr(), "smtp": s.SMTPAddr(), "gmail-imap": s.GmailIMAPAddr(), "gmail-smtp": s.GmailSMTPAddr(),
		"pop3": s.POP3Addr(), "gmail-pop3": s.GmailPOP3Addr(), "graph": s.GraphURL(), "ews": s.EWSURL(),
	}
}
