package imap

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/wire"
)

// Config is what a Source is made of.
type Config struct {
	Settings tokenclient.Settings // the mailbox, as the broker has it
	Folder   string               // to read, in UTF-8; inbound.JunkFolder for the junk folder
	Broker   tokenclient.Broker   // gives tokens and passwords
	Roots    *x509.CertPool       // whom to trust besides the system's; nil = the system's alone
	Trace    wire.Trace           // sees the traffic, credentials blanked; nil = none
}

// Bounds for what the settings leave open.
const (
	defaultConnect = 30 * time.Second
	defaultSilence = time.Minute
)

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
	e, in := c.Settings.Endpoint, c.Settings.Inbound
	if e.Server == "" || e.Port < 1 || e.Port > 65535 {
		errs = append(errs, fmt.Errorf("server %q, port %d: name the IMAP server; 993 is the usual port", e.Server, e.Port))
	}
	if !wire.Protects(e.Security) {
		errs = append(errs, fmt.Errorf("pop-connection-security %q: use ssl-tls, start-tls, or none on loopback", e.Security))
	}
	switch e.Mechanism {
	case tokenclient.XOAUTH2, tokenclient.OAUTHBEARER, tokenclient.Basic:
	default:
		errs = append(errs, fmt.Errorf("mechanism %s: IMAP logs in with XOAUTH2, OAUTHBEARER or a password", e.Mechanism))
	}
	errs = append(errs, inbound.CheckTargets(in, c.Folder, sameFolder)...)
	if c.Broker == nil {
		errs = append(errs, errors.New("no broker to ask for credentials"))
	}
	return errors.Join(errs...)
}

func (c Config) wire() wire.Options { return wire.To(c.Settings.Endpoint, c.Roots, c.Trace) }
