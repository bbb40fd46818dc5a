package smtp

import (
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/wire"
)

// Config is what all mailboxes of a worker share. The zero value works.
type Config struct {
	Roots    *x509.CertPool // whom to trust; nil = the system's
	Hello    string         // the name in EHLO; default localhost
	Trace    wire.Trace     // sees what goes over the wire, credentials blanked; nil for none
	AfterDot time.Duration  // how long the server may take to answer a whole message; default 10 min
	// Shared says that other workers send from the same mailboxes. All together have PoolSize connections while they send,
	// but nobody sees those that others keep idle, and servers count them: where a provider's limits are kept, a connection
	// ends with its message then.
	Shared bool
}

// withDefaults fills in. RFC 5321 section 4.5.3.2.6 gives the server 10 minutes after the final dot: whoever leaves
// earlier sends the message twice.
func (c Config) withDefaults() Config {
	if c.Hello == "" {
		c.Hello = "localhost"
	}
	if c.AfterDot <= 0 {
		c.AfterDot = 10 * time.Minute
	}
	return c
}

// check says what is wrong with the settings of a mailbox.
func check(s tokenclient.Settings) error {
	var problems []error
	if s.Endpoint.Server == "" {
		problems = append(problems, errors.New("server: there is none; name the submission server"))
	}
	if p := s.Endpoint.Port; p < 1 || p > 65535 {
		problems = append(problems, fmt.Errorf("port %d: use 587 with start-tls, or 465 with ssl-tls", p))
	}
	if !wire.Protects(s.Endpoint.Security) {
		problems = append(problems, fmt.Errorf("security %s: use ssl-tls or start-tls", s.Endpoint.Security))
	}
	if s.Endpoint.Mechanism == tokenclient.Bearer {
		problems = append(problems, errors.New("mechanism BEARER is for HTTP; use XOAUTH2 or OAUTHBEARER"))
	}
	return errors.Join(problems...)
}
