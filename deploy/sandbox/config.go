package sandbox

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"mailporter/sandbox/idp"
	"mailporter/sandbox/imapd"
	"mailporter/sandbox/pop3d"
)

// The words of the directory, under the names by which configurations are written.
type (
	Tenant       = idp.Tenant
	App          = idp.App
	Secret       = idp.Secret
	Federated    = idp.Federated
	User         = idp.User
	GoogleConfig = idp.Google
	GoogleClient = idp.GoogleClient
	GoogleUser   = idp.GoogleUser
	RefreshToken = idp.Seed

	ServiceAccount  = idp.ServiceAccount
	ServiceKey      = idp.ServiceKey
	FederatedDomain = idp.FederatedDomain
)

// Config says what the sandbox simulates. The zero value starts, with nobody in it.
type Config struct {
	// Host is the loopback address to listen on; default 127.0.0.1.
	Host  string `yaml:"host"`
	Ports Ports  `yaml:"ports"`
	// Data is the folder for mail, keys, revocations and the certificate authority; empty keeps all of it in memory.
	Data string `yaml:"data"`
	// CADir is the folder of the certificate authority (ca.pem, ca-key.pem), if it is not to be Data.
	CADir string `yaml:"ca-dir"`

	// TokenLife is how long access tokens live, in whole seconds; default 1h.
	TokenLife time.Duration `yaml:"token-life"`
	// RefreshIn is the refresh_in of Entra's answers; 0 leaves it out.
	RefreshIn time.Duration `yaml:"refresh-in"`
	// RefreshTokenLife is how long an Entra refresh token lives unused; default 90 days.
	RefreshTokenLife time.Duration `yaml:"refresh-token-life"`
	// SingleUseRefreshTokens makes Entra refresh tokens void at their use, and the whole family when one comes twice.
	// The real Entra leaves the old one valid.
	SingleUseRefreshTokens bool `yaml:"single-use-refresh-tokens"`
	// NoGraphDelta leaves delta rounds out of Graph, as the cloud in China does.
	NoGraphDelta bool `yaml:"no-graph-delta"`
	// IMAPSecurity is how both IMAP ports speak TLS: tls (default), starttls or none. Likewise POP3Security.
	IMAPSecurity imapd.Security `yaml:"imap-security"`
	POP3Security pop3d.Security `yaml:"pop3-security"`
	// POP3OneLine lets Exchange's POP3 take a token on the line of AUTH. The real one wants it on a line of its own.
	POP3OneLine bool `yaml:"pop3-one-line"`
	// SentCopyDelay is how long after the 250 what was submitted over SMTP shows among the sender's sent mail; negative is never,
	// as with servers that keep no copies.
	SentCopyDelay time.Duration `yaml:"sent-copy-delay"`

	Tenants       []Tenant       `yaml:"tenants"`
	Google        GoogleConfig   `yaml:"google"`
	RefreshTokens []RefreshToken `yaml:"refresh-tokens"`
	Limits        Limits         `yaml:"limits"`

	Log *slog.Logger `yaml:"-"`
}

// Ports are the ports to listen on; 0 takes a free one.
type Ports struct {
	Identity  int `yaml:"identity"`
	IMAP      int `yaml:"imap"`
	SMTP      int `yaml:"smtp"`
	POP3      int `yaml:"pop3"`
	GmailIMAP int `yaml:"gmail-imap"`
	GmailPOP3 int `yaml:"gmail-pop3"`
	GmailSMTP int `yaml:"gmail-smtp"`
	Graph     int `yaml:"graph"`
	EWS       int `yaml:"ews"`
	Admin     int `yaml:"admin"`
}

// Limits are what the providers enforce.
type Limits struct {
	// SMTPConnections is how many a mailbox may have at a time; default 3, -1 is any number.
	SMTPConnections int `yaml:"smtp-connections"`
	// MessagesPerMinute is how many a mailbox may send, over all protocols together; more are delayed. Exchange Online: 30. 0 is any number.
	MessagesPerMinute int `yaml:"messages-per-minute"`
	// RecipientsPerDay is how many a mailbox may write to in 24 hours; more are refused. Exchange Online: 10,000. 0 is any number.
	RecipientsPerDay int `yaml:"recipients-per-day"`
	// IMAPConnections is how many a mailbox may have at a time; 0 is any number.
	IMAPConnections int `yaml:"imap-connections"`
	// GraphRequests is how many a mailbox takes at a time from one application; default 4, -1 is any number.
	GraphRequests int `yaml:"graph-requests"`
	// GraphUploads is how many bytes one application may bring into a mailbox within five minutes; default 150 MiB, -1 is any number.
	GraphUploads int64 `yaml:"graph-uploads"`
	// EWSRequests is how many a mailbox takes at a time; default 27, -1 is any number.
	EWSRequests int `yaml:"ews-requests"`
	// MessageSize is the largest message that SMTP and EWS take, in bytes; default 150 MiB.
	MessageSize int64 `yaml:"message-size"`
	// IdenticalTokenRequests within five minutes end in AADSTS50196; 0 is any number.
	IdenticalTokenRequests int `yaml:"identical-token-requests"`
}

// withDefaults fills in what was left out.
func (c Config) withDefaults() Config {
	set(&c.Host, "127.0.0.1")
	set(&c.TokenLife, time.Hour)
	set(&c.RefreshTokenLife, 90*24*time.Hour)
	set(&c.CADir, c.Data)
	set(&c.IMAPSecurity, imapd.Implicit)
	set(&c.POP3Security, pop3d.Implicit)
	set(&c.Limits.SMTPConnections, 3)
	set(&c.Limits.GraphRequests, 4)
	set(&c.Limits.EWSRequests, 27)
	set(&c.Limits.MessageSize, 150<<20)
	set(&c.Limits.GraphUploads, 150<<20)
	c.Limits.SMTPConnections, c.Limits.GraphRequests = max(c.Limits.SMTPConnections, 0), max(c.Limits.GraphRequests, 0)
	c.Limits.EWSRequests, c.Limits.GraphUploads = max(c.Limits.EWSRequests, 0), max(c.Limits.GraphUploads, 0)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func set[T comparable](v *T, def T) {
	var zero T
	if *v == zero {
		*v = def
	}
}

// Validate returns every complaint about the configuration.
func (c Config) Validate() error {
	c = c.withDefaults()
	var errs []error
	if c.TokenLife < time.Second || c.TokenLife%time.Second != 0 {
		errs = append(errs, fmt.Errorf("token-life %s: use whole seconds, at least 1s", c.TokenLife))
	}
	if c.RefreshIn < 0 || c.RefreshIn >= c.TokenLife {
		errs = append(errs, fmt.Errorf("refresh-in %s: must be within token-life %s", c.RefreshIn, c.TokenLife))
	}
	switch c.IMAPSecurity {
	case imapd.Implicit, imapd.StartTLS, imapd.Clear:
	default:
		errs = append(errs, fmt.Errorf("imap-security %q: use tls, starttls or none", c.IMAPSecurity))
	}
	switch c.POP3Security {
	case pop3d.Implicit, pop3d.StartTLS, pop3d.Clear:
	default:
		errs = append(errs, fmt.Errorf("pop3-security %q: use tls, starttls or none", c.POP3Security))
	}
	if !loopback(c.Host) {
		errs = append(errs, fmt.Errorf("host %q: the sandbox listens on loopback addresses only, such as 127.0.0.1", c.Host))
	}
	for name, port := range c.Ports.all() {
		if port < 0 || port > 65535 {
			errs = append(errs, fmt.Errorf("ports.%s %d: use 0 to 65535", name, port))
		}
	}
	if _, err := idp.NewDirectory(c.Tenants, c.Google); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (p Ports) all() map[string]int {
	return map[string]int{
		"identity": p.Identity, "imap": p.IMAP, "smtp": p.SMTP, "gmail-imap": p.GmailIMAP, "gmail-smtp": p.GmailSMTP,
		"pop3": p.POP3, "gmail-pop3": p.GmailPOP3,
		"graph": p.Graph, "ews": p.EWS, "admin": p.Admin,
	}
}
