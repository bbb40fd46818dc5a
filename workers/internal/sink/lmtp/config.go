package lmtp

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"mailporter/workers/internal/wire"
)

// Placeholder in a recipient stands for the mailbox's address.
const Placeholder = "{mailbox}"

// Config says where to deliver to.
type Config struct {
	Address     string         // host:port, or unix:/path
	Security    wire.Security  // Plain reaches loopback and Unix sockets only
	Recipient   string         // empty = Placeholder
	Hostname    string         // the name in LHLO; empty = localhost
	Roots       *x509.CertPool // whom to trust; nil = the system's
	Connections int            // most at once; default 8
	Timeout     time.Duration  // longest silence; default 5 min, after the message 10 min: RFC 5321 section 4.5.3.2
}

const (
	defaultConnections = 8
	defaultTimeout     = 5 * time.Minute
	afterMessage       = 10 * time.Minute
)

func (c Config) withDefaults() Config {
	if c.Recipient == "" {
		c.Recipient = Placeholder
	}
	if c.Hostname == "" {
		c.Hostname = "localhost"
	}
	if c.Connections <= 0 {
		c.Connections = defaultConnections
	}
	if c.Timeout <= 0 {
		c.Timeout = defaultTimeout
	}
	return c
}

const unixPrefix = "unix:"

// Check says what is wrong with an address.
func Check(address string) error {
	if path, unix := strings.CutPrefix(address, unixPrefix); unix {
		if path == "" {
			return errors.New("names no socket; write unix:/path")
		}
		return nil
	}
	host, port, err := net.SplitHostPort(address)
	n, portErr := strconv.ParseUint(port, 10, 16)
	if err != nil || portErr != nil || n == 0 || host == "" {
		return fmt.Errorf("%q is neither HOST:PORT nor unix:/path", address)
	}
	return nil
}

// CheckRecipient says what is wrong with a recipient.
func CheckRecipient(recipient string) error {
	if recipient == "" || len(recipient) > 254 || strings.ContainsAny(recipient, " <>\r\n\t\x00") {
		return fmt.Errorf("%q is no address; write one, or %s for the mailbox's own", recipient, Placeholder)
	}
	return nil
}
