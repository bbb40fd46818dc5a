package idp

import (
	"strings"
	"time"
)

// A Tenant is one Entra directory with its Exchange Online organisation.
type Tenant struct {
	// ID is the directory id, a GUID.
	ID string `yaml:"id"`
	// Domains are the verified mail domains; each also names the tenant in URLs.
	Domains []string `yaml:"domains"`
	// Federated are those of Domains whose users prove themselves at a federation server.
	Federated []FederatedDomain `yaml:"federated-domains"`
	Apps      []App             `yaml:"apps"`
	Users     []User            `yaml:"users"`
}

// An App is an application registration with its service principal in the tenant.
type App struct {
	ClientID string   `yaml:"client-id"`
	Name     string   `yaml:"name"`
	Secrets  []Secret `yaml:"secrets"`
	// Certificates are those registered for client assertions: PEM, or files of it.
	Certificates []string    `yaml:"certificates"`
	Federated    []Federated `yaml:"federated"`
	// PublicClient is "Allow public client flows": no secret may be sent then.
	PublicClient bool `yaml:"public-client"`
	Disabled     bool `yaml:"disabled"`
	// Roles are the application permissions with admin consent, such as IMAP.AccessAsApp, SMTP.SendAsApp, Mail.ReadWrite.
	Roles []string `yaml:"roles"`
	// Scopes are the delegated permissions with consent, such as IMAP.AccessAsUser.All, SMTP.Send, Mail.Send.
	Scopes []string `yaml:"scopes"`
	// Mailboxes are those an app-only token may open; "*" is the whole tenant.
	Mailboxes []string `yaml:"mailboxes"`
	// SendAs are further addresses an app-only token may send as; "*" is the whole tenant.
	SendAs []string `yaml:"send-as"`
}

// A Secret is one client secret of an application; several may be valid side by side.
type Secret struct {
	ID      string `yaml:"id"`
	Value   string `yaml:"value"`
	Expired bool   `yaml:"expired"`
}

// A User is a mailbox and, with a password, somebody who can sign in. A shared mailbox has none.
type User struct {
	Address  string `yaml:"address"`
	Password string `yaml:"password"`

	MFA             bool `yaml:"mfa"`
	Locked          bool `yaml:"locked"`
	Disabled        bool `yaml:"disabled"`
	PasswordExpired bool `yaml:"password-expired"`

	IMAPDisabled bool `yaml:"imap-disabled"`
	POPDisabled  bool `yaml:"pop-disabled"`
	SMTPDisabled bool `yaml:"smtp-disabled"`
	// EWSDisabled is the organisation's or the mailbox's switch: 403, as after the retirement of EWS.
	EWSDisabled bool `yaml:"ews-disabled"`
	// BasicDisabled refuses the password at the mail servers, as Exchange Online does; without it they behave as an
	// Exchange on premises.
	BasicDisabled bool `yaml:"basic-disabled"`

	// FullAccess are the other mailboxes that this user may open, SendAs those he may send as.
	FullAccess []string `yaml:"full-access"`
	SendAs     []string `yaml:"send-as"`
}

// Google is everything the Google half knows.
type Google struct {
	// Domains are those whose mail arrives here; those of the users are added by themselves.
	Domains []string       `yaml:"domains"`
	Clients []GoogleClient `yaml:"clients"`
	Users   []GoogleUser   `yaml:"users"`

	ServiceAccounts []ServiceAccount `yaml:"service-accounts"`
}

// A GoogleClient is an OAuth client of a Google project.
type GoogleClient struct {
	ID       string `yaml:"id"`
	Secret   string `yaml:"secret"`
	Disabled bool   `yaml:"disabled"`
}

// A GoogleUser is a Gmail account.
type GoogleUser struct {
	Address string `yaml:"address"`
	// AppPassword signs in to IMAP and SMTP with PLAIN; empty: none.
	AppPassword  string `yaml:"app-password"`
	IMAPDisabled bool   `yaml:"imap-disabled"`
	POPDisabled  bool   `yaml:"pop-disabled"`
	// POPOnce hides what a POP3 client has retrieved from later sessions, unless the user name begins with recent: as the
	// real Gmail does for every account.
	POPOnce bool `yaml:"pop-once"`
	// POPDelete is the account's setting of what becomes of a message that a POP3 client deletes.
	POPDelete POPDelete `yaml:"pop-delete"`
}

// A POPDelete says what Gmail does with a message that a POP3 client deletes. The real one can archive as well.
type POPDelete string

// What the setting may be; empty is POPRemove, which the real Gmail does by way of the trash.
const (
	POPRemove   POPDelete = "delete"
	POPTrash    POPDelete = "trash"
	POPKeep     POPDelete = "keep"
	POPMarkRead POPDelete = "mark-read"
)

// A Seed is a refresh token that exists from the start, under a value that a configuration can name.
type Seed struct {
	Token string `yaml:"token"`
	// Tenant is a directory id, or "google".
	Tenant string `yaml:"tenant"`
	Client string `yaml:"client"`
	User   string `yaml:"user"`
	// Scopes were consented to with it; at Entra with their resource ("https://outlook.office.com/IMAP.AccessAsUser.All").
	Scopes []string `yaml:"scopes"`
	// Revoked and Expired make one that is refused.
	Revoked bool `yaml:"revoked"`
	Expired bool `yaml:"expired"`
}

// GoogleTenant stands where a directory id would, for what belongs to Google.
const GoogleTenant = "google"

// Resources that tokens are made for.
const (
	Outlook365 = "https://outlook.office365.com"
	Outlook    = "https://outlook.office.com"
	Graph      = "https://graph.microsoft.com"
	// GmailScope is the one scope for IMAP, POP3 and SMTP at Google.
	GmailScope = "https://mail.google.com/"
)

// Claims are what a valid access token says.
type Claims struct {
	// ID tells tokens apart and may be logged.
	ID string
	// Tenant is the directory id, or GoogleTenant.
	Tenant string
	Client string
	// User is empty in an app-only token.
	User string
	// Audience is the resource; empty at Google.
	Audience string
	Roles    []string
	Scopes   []string
	Issued   time.Time
	Expires  time.Time
}

// ForExchange tells whether Exchange's mail protocols take tokens of this audience.
func (c Claims) ForExchange() bool { return c.Audience == Outlook365 || c.Audience == Outlook }

func lower(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

func domainOf(addr string) string {
	_, domain, _ := strings.Cut(lower(addr), "@")
	return domain
}
