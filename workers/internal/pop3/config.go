package pop3

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/wire"
)

// Config is what a Source is made of.
type Config struct {
	Settings tokenclient.Settings // the mailbox, as the broker has it
	Folder   string               // INBOX: there is no other
	Broker   tokenclient.Broker   // gives tokens and passwords
	Roots    *x509.CertPool       // whom to trust besides the system's; nil = the system's alone
	Trace    wire.Trace           // sees the traffic, credentials blanked; nil = none
}

// Bounds for what the settings leave open.
const (
	defaultConnect = 30 * time.Second
	defaultSilence = time.Minute
)

const inbox = "INBOX"

// Default fills in what the settings leave open.
func (c Config) Default() Config {
	e := &c.Settings.Endpoint
	if e.ConnectTimeout <= 0 {
		e.ConnectTimeout = defaultConnect
	}
	if e.ProtocolTimeout <= 0 {
		e.ProtocolTimeout = defaultSilence
	}
	if c.Settings.Inbound.After == 0 {
		c.Settings.Inbound.After = tokenclient.Keep
	}
	if c.Folder == "" {
		c.Folder = inbox
	}
	return c
}

// Validate joins all complaints.
func (c Config) Validate() error {
	var errs []error
	e := c.Settings.Endpoint
	if e.Server == "" || e.Port < 1 || e.Port > 65535 {
		errs = append(errs, fmt.Errorf("server %q, port %d: name the POP3 server; 995 is the usual port", e.Server, e.Port))
	}
	if !wire.Protects(e.Security) {
		errs = append(errs, fmt.Errorf("pop-connection-security %q: use ssl-tls, start-tls, or none on loopback", e.Security))
	}
	switch e.Mechanism {
	case tokenclient.XOAUTH2, tokenclient.OAUTHBEARER, tokenclient.Basic:
	default:
		errs = append(errs, fmt.Errorf("mechanism %s: POP3 logs in with XOAUTH2, OAUTHBEARER or a password", e.Mechanism))
	}
	if c.Broker == nil {
		errs = append(errs, errors.New("no broker to ask for credentials"))
	}
	return errors.Join(append(errs, c.impossible()...)...)
}

// impossible complains about what POP3 has no command for: RFC 1939 knows one maildrop, without flags.
func (c Config) impossible() (errs []error) {
	in := c.Settings.Inbound
	if !strings.EqualFold(c.Folder, inbox) || len(in.Folders) > 1 {
		errs = append(errs, fmt.Errorf("folder-path %q: POP3 has no folders; leave it out, or fetch by IMAP", c.Folder))
	}
	if in.After != tokenclient.Keep && in.After != tokenclient.Delete {
		errs = append(errs, fmt.Errorf("disposition %s: POP3 has no flags and no folders; use keep or delete", in.After))
	}
	if in.FailedFolder != "" {
		errs = append(errs, fmt.Errorf("failed-items-folder-name %q: POP3 cannot move messages; leave it out, failed ones stay where they are", in.FailedFolder))
	}
	if in.Junk == tokenclient.JunkRead || in.Junk == tokenclient.JunkCount {
		errs = append(errs, fmt.Errorf("junk %s: POP3 does not show the junk folder; use ignore, or fetch by IMAP", in.Junk))
	}
	return errs
}

func (c Config) wire() wire.Options { return wire.To(c.Settings.Endpoint, c.Roots, c.Trace) }
