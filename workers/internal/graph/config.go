package graph

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
	"mailporter/workers/internal/slots"
)

// Config is what a Source is made of.
type Config struct {
	Settings tokenclient.Settings // the mailbox, as the broker has it
	Folder   string               // to read; path of display names, INBOX, or inbound.JunkFolder
	Broker   tokenclient.Broker   // gives tokens
	Roots    *x509.CertPool       // whom to trust; nil = the system's
	Slots    slots.Slots          // bounds the mailbox's requests together with whoever else makes some; nil = nobody does
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
	if c.Slots == nil {
		c.Slots = &slots.Local{}
	}
	return c
}

// Validate joins all complaints.
func (c Config) Validate() error {
	var errs []error
	e, in := c.Settings.Endpoint, c.Settings.Inbound
	if e.Server == "" || e.Port < 1 || e.Port > 65535 {
		errs = append(errs, fmt.Errorf("server %q, port %d: name the host of Graph, such as graph.microsoft.com", e.Server, e.Port))
	}
	if e.Security != tokenclient.TLS {
		errs = append(errs, fmt.Errorf("pop-connection-security %s: Graph is reached with ssl-tls only", e.Security))
	}
	if e.Mechanism != tokenclient.Bearer {
		errs = append(errs, fmt.Errorf("mechanism %s: Graph takes access tokens only", e.Mechanism))
	}
	errs = append(errs, inbound.CheckTargets(in, c.Folder, strings.EqualFold)...) // Exchange's names do not differ by case
	if c.Broker == nil {
		errs = append(errs, errors.New("no broker to ask for tokens"))
	}
	return errors.Join(errs...)
}

// host is host:port, without the port that https has anyway: as it stands in the server's links.
func (c Config) host() string {
	if c.Settings.Endpoint.Port == defaultPort {
		return c.Settings.Endpoint.Server
	}
	return net.JoinHostPort(c.Settings.Endpoint.Server, strconv.Itoa(c.Settings.Endpoint.Port))
}
