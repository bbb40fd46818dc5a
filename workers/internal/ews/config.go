package ews

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"mailporter/kit/tokenclient"
)

// Config is what a Source is made of.
type Config struct {
	Settings tokenclient.Settings // the mailbox, as the broker has it
	Folder   string               // to read; path of display names, INBOX, or inbound.JunkFolder
	Broker   tokenclient.Broker   // gives tokens and passwords
	Roots    *x509.CertPool       // whom to trust; nil = the system's
}

// Bounds for what the settings leave open.
const (
	defaultConnect = 30 * time.Second
	defaultSilence = 2 * time.Minute
	defaultPort    = 443
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
	if e.Port == 0 {
		e.Port = defaultPort
	}
	if e.User == "" {
		e.User = c.Settings.Mailbox
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
		errs = append(errs, fmt.Errorf("server %q, port %d: name the host of EWS, such as outlook.office365.com", e.Server, e.Port))
	}
	if e.Security != tokenclient.TLS {
		errs = append(errs, fmt.Errorf("pop-connection-security %s: EWS is reached with ssl-tls only", e.Security))
	}
	if e.Mechanism != tokenclient.Bearer && e.Mechanism != tokenclient.Basic {
		errs = append(errs, fmt.Errorf("mechanism %s: EWS takes access tokens (mail.ews.auth.mechanisms: XOAUTH2) or a password", e.Mechanism))
	}
	// Exchange's names do not differ by case.
	if in.After == tokenclient.Move && (in.AfterFolder == "" || strings.EqualFold(in.AfterFolder, c.Folder)) {
		errs = append(errs, fmt.Errorf("disposition move to %q: name another folder than the one that is read", in.AfterFolder))
	}
	if in.FailedFolder != "" && strings.EqualFold(in.FailedFolder, c.Folder) {
		errs = append(errs, fmt.Errorf("failed-items-folder-name %q: name another folder than the one that is read", in.FailedFolder))
	}
	if c.Broker == nil {
		errs = append(errs, errors.New("no broker to ask for credentials"))
	}
	return errors.Join(errs...)
}

// url is that of the service.
func (c Config) url() string {
	return "https://" + c.host() + "/EWS/Exchange.asmx"
}

// host is host:port, without the port that https has anyway.
func (c Config) host() string {
	if c.Settings.Endpoint.Port == defaultPort {
		return c.Settings.Endpoint.Server
	}
	return net.JoinHostPort(c.Settings.Endpoint.Server, strconv.Itoa(c.Settings.Endpoint.Port))
}
