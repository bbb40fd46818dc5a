package smtp

import (
	"cmp"
	"crypto/tls"
	"log/slog"
	"net/netip"
	"time"

	"mailporter/kit/secret"
	"mailporter/workers/internal/intake"
)

// Config says who may hand in what. The zero value lets loopback in.
type Config struct {
	intake.Rules
	Hostname string         // in the greeting; default localhost
	Allow    []netip.Prefix // who may submit without login; nil = loopback
	Users    []User         // who may log in from elsewhere, or from there too
	TLS      *tls.Config    // offers STARTTLS; a client certificate that it verified may submit, see Clients; nil = none
	Clients  intake.Clients // whose verified certificate lets them submit
	// MendLineEnds takes messages with lines that end with LF alone, and gives those lines a CR. Without it they are refused.
	MendLineEnds bool
	ImplicitTLS  bool          // TLS from the first byte, with TLS
	MaxSessions  int           // at a time; default 500
	Idle         time.Duration // longest silence; default 5 min (RFC 5321 section 4.5.3.2.7)
	LoginWithin  time.Duration // how long somebody may stay who has to prove who he is and has not; default 1 min
	Penalty      time.Duration // how long a refused login waits for its answer: guessing is slow; default 1 s
	Log          *slog.Logger
}

// User may submit after AUTH.
type User struct {
	Name     string
	Password secret.Ref
	Senders  []string // as intake.Submitter has them
}

func (c Config) withDefaults() Config {
	c.Hostname = cmp.Or(c.Hostname, "localhost")
	c.Rules = c.Rules.WithDefaults()
	c.MaxSessions = cmp.Or(c.MaxSessions, 500)
	c.Idle = cmp.Or(c.Idle, 5*time.Minute)
	c.LoginWithin = cmp.Or(c.LoginWithin, time.Minute)
	c.Penalty = cmp.Or(c.Penalty, time.Second)
	if c.Allow == nil {
		c.Allow = Loopback()
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// Loopback is 127.0.0.0/8 and ::1.
func Loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}
