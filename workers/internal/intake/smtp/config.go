package smtp

import (
	"cmp"
	"context"
	"crypto/tls"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"mailporter/kit/secret"
	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/outbound"
)

// Config says who may hand in what. The zero value lets loopback in.
type Config struct {
	Hostname      string         // in the greeting; default localhost
	Allow         []netip.Prefix // who may submit without login; nil = loopback
	Users         []User         // who may log in from elsewhere, or from there too
	TLS           *tls.Config    // offers STARTTLS; a client certificate that it verified may submit; nil = none
	ImplicitTLS   bool           // TLS from the first byte, with TLS
	MaxSize       int64          // of a message, in bytes; default 150 MiB
	MaxRecipients int            // of a message; default 1000
	MaxHops       int            // Received lines of a message; more is a loop; default 100 (RFC 5321 section 6.3)
	MaxSessions   int            // at a time; default 500
	Idle          time.Duration  // longest silence; default 5 min (RFC 5321 section 4.5.3.2.7)
	NullSender    string         // the mailbox that sends what has no sender; empty: refused
	Log           *slog.Logger
}

// User may submit after AUTH.
type User struct {
	Name     string
	Password secret.Ref
}

func (c Config) withDefaults() Config {
	c.Hostname = cmp.Or(c.Hostname, "localhost")
	c.MaxSize = cmp.Or(c.MaxSize, 150<<20)
	c.MaxRecipients = cmp.Or(c.MaxRecipients, 1000)
	c.MaxHops = cmp.Or(c.MaxHops, 100)
	c.MaxSessions = cmp.Or(c.MaxSessions, 500)
	c.Idle = cmp.Or(c.Idle, 5*time.Minute)
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

// Outbox is where mail goes: the part of outbound.Outbox that a door needs.
type Outbox interface {
	Add(ctx context.Context, s outbound.Submission) (id string, err error)
}

// Senders knows which mailbox sends for an address. The zero value knows that it knows nothing yet.
type Senders struct {
	book atomic.Pointer[book]
}

// book holds addresses and, as @domain, what a leading *@ matches, in lower case.
type book map[string]string

// Set takes the full set of mailboxes. A mailbox's own address comes before any alias; of two mailboxes with the same
// alias the first has it.
func (s *Senders) Set(all []tokenclient.Settings) {
	b := book{}
	for _, m := range all {
		b[strings.ToLower(m.Mailbox)] = m.Mailbox
	}
	for _, m := range all {
		for _, alias := range m.Outbound.SenderAliases {
			key := strings.ToLower(strings.TrimPrefix(alias, "*"))
			if _, taken := b[key]; !taken {
				b[key] = m.Mailbox
			}
		}
	}
	s.book.Store(&b)
}

// Find is the mailbox that sends for an address. known is false while no set was given.
func (s *Senders) Find(address string) (mailbox string, known bool) {
	b := s.book.Load()
	if b == nil {
		return "", false
	}
	address = strings.ToLower(address)
	if m, ok := (*b)[address]; ok {
		return m, true
	}
	if at := strings.LastIndexByte(address, '@'); at >= 0 {
		return (*b)[address[at:]], true
	}
	return "", true
}
