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
	"mailporter/workers/internal/inbound"
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

// TransportConfig is what the Transports of all mailboxes share. The zero value works.
type TransportConfig struct {
	Roots *x509.CertPool // whom to trust; nil = the system's
}

// Default fills in what the settings leave open.
func (c Config) Default() Config {
	c.Settings.Endpoint = complete(c.Settings)
	if c.Settings.Inbound.After == 0 {
		c.Settings.Inbound.After = tokenclient.Keep
	}
	if c.Folder == "" {
		c.Folder = inbox
	}
	return c
}

func complete(s tokenclient.Settings) tokenclient.Endpoint {
	e := s.Endpoint
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
		e.User = s.Mailbox
	}
	return e
}

// Validate joins all complaints.
func (c Config) Validate() error {
	errs := []error{checkEndpoint(c.Settings, c.Broker)}
	in := c.Settings.Inbound
	errs = append(errs, inbound.CheckTargets(in, c.Folder, strings.EqualFold)...) // Exchange's names do not differ by case
	return errors.Join(errs...)
}

// checkEndpoint joins all complaints about how the server is reached.
func checkEndpoint(s tokenclient.Settings, b tokenclient.Broker) error {
	var errs []error
	e, side := s.Endpoint, "pop"
	if s.Direction == tokenclient.Outbound {
		side = "smtp"
	}
	if e.Server == "" || e.Port < 1 || e.Port > 65535 {
		errs = append(errs, fmt.Errorf("server %q, port %d: name the host of EWS, such as outlook.office365.com", e.Server, e.Port))
	}
	if e.Security != tokenclient.TLS {
		errs = append(errs, fmt.Errorf("%s-connection-security %s: EWS is reached with ssl-tls only", side, e.Security))
	}
	if e.Mechanism != tokenclient.Bearer && e.Mechanism != tokenclient.Basic {
		errs = append(errs, fmt.Errorf("mechanism %s: EWS takes access tokens (mail.ews.auth.mechanisms: XOAUTH2) or a password", e.Mechanism))
	}
	if b == nil {
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
