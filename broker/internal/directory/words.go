package directory

import (
	"strings"
	"time"

	"mailporter/broker/internal/policy"
	"mailporter/broker/internal/token"
	"mailporter/kit/daemon"
	"mailporter/kit/secret"
)

// Config is everything that the files say. It is not changed after Load.
type Config struct {
	Settings
	Policy    *policy.Policy
	Mailboxes []*Mailbox // in the order of addresses
	byAddress map[string]*Mailbox
	live      map[string]*token.Credential // by ID and version
	secrets   []string                     // files that secrets were read from
	began     time.Time                    // when reading began
	replaced  chan struct{}                // closed when another Config has taken its place
}

// Settings is broker.yaml: what the process itself needs. A change takes effect at the next start, but for the list of
// mailbox files, the policy and the content of certificates.
type Settings struct {
	File          string
	Listen        string          // host:port of gRPC
	Admin         string          // host:port of HTTP, empty = none
	TLS           daemon.TLSFiles // of the listener; CA is what callers' certificates must descend from; zero = none given
	Kubernetes    Kubernetes      // service-account tokens that stand for a certificate; zero = none
	Store         string          // file:DIR with an absolute path, or a Redis URL
	StorePassword secret.String   // of Redis, instead of one in the URL
	Keyset        string          // path
	PolicyFile    string          // path
	Patterns      []string        // globs of mailbox files
	AuditFile     string          // path; empty = standard output
	AuditSync     bool            // every line is on the disk before its answer leaves
	TrustedCA     []string        // paths of more roots for identity providers
	IdentityVia   string          // proxy for identity providers: http://host:port or socks5://host:port
	MailVia       string          // proxy that workers are told to use for mail servers
	Authorities   []string        // allowed besides Microsoft's clouds and Google: host or host:port, lower case
	Remedies      string          // path of a table that overrides remedies, or empty
	DrainTime     time.Duration
	KeepAlive     time.Duration // refresh tokens that nobody used for so long are used; 0 = never
}

// Direction is one side of a mailbox.
type Direction string

// The sides of a mailbox.
const (
	Inbound  Direction = "inbound"  // pop-client
	Outbound Direction = "outbound" // smtp-client
)

// Protocol is what a section speaks.
type Protocol string

// The protocols.
const (
	POP3  Protocol = "POP3"
	IMAP  Protocol = "IMAP"
	SMTP  Protocol = "SMTP"
	EWS   Protocol = "EWS"
	Graph Protocol = "GRAPH"
)

// Mechanism is how a section's credential is presented.
type Mechanism string

// The mechanisms. NoLogin is an SMTP relay that asks for nothing.
const (
	NoLogin     Mechanism = ""
	XOAUTH2     Mechanism = "XOAUTH2"
	OAUTHBEARER Mechanism = "OAUTHBEARER"
	Bearer      Mechanism = "BEARER"
	BasicLogin  Mechanism = "BASIC"
)

// Security is how the connection to the mail server is protected.
type Security string

// The kinds of protection, as the options spell them.
const (
	PlainText Security = "none"
	StartTLS  Security = "start-tls"
	TLS       Security = "ssl-tls"
)

// Mailbox is an address with one or two sides.
type Mailbox struct {
	Address  string   // as configured
	Inbound  *Section // nil = none
	Outbound *Section
}

// Side is the section of a direction, or nil.
func (m *Mailbox) Side(d Direction) *Section {
	switch d {
	case Inbound:
		return m.Inbound
	case Outbound:
		return m.Outbound
	}
	return nil
}

// Sides are the configured sections, inbound first.
func (m *Mailbox) Sides() []*Section {
	sides := make([]*Section, 0, 2)
	for _, s := range []*Section{m.Inbound, m.Outbound} {
		if s != nil {
			sides = append(sides, s)
		}
	}
	return sides
}

// Section is one side of a mailbox: pop-client or smtp-client.
type Section struct {
	Mailbox    string // address
	Direction  Direction
	Protocol   Protocol
	Mechanism  Mechanism
	Grant      token.Kind
	Credential *token.Credential // shared; nil for basic and none
	Audience   token.Audience    // scope to ask for
	Margin     time.Duration     // token-expiry-margin-time
	Password   secret.String     // basic authentication only
	Endpoint   Endpoint
	Fetch      *Fetch // inbound only
	Post       *Post  // outbound only
	Version    string // changes with every setting that a worker is told; no secret is part of it
}

// Impersonates says whether requests must name the mailbox beside the token, because it is the application's own.
func (s *Section) Impersonates() bool {
	return s.Protocol == EWS && s.Credential != nil && s.Credential.Grant == token.ClientCredentials
}

// Endpoint is the mail server and how to reach it.
type Endpoint struct {
	Server          string
	Port            int
	Security        Security
	User            string // login name: the mailbox to open
	ConnectTimeout  time.Duration
	ProtocolTimeout time.Duration
	TwoLine         bool // POP3: AUTH XOAUTH2 on a line of its own
}

// Fetch is what only pop-client has.
type Fetch struct {
	Folders      []string
	Cycle        time.Duration
	MaxSize      int64  // bytes, 0 = no limit
	MaxNumber    int    // messages a cycle, 0 = no limit
	After        string // keep, mark-read, move or delete
	AfterFolder  string // for move
	FailedFolder string
	Junk         string // read, count or ignore
	DeliverTo    string
}

// Post is what only smtp-client has.
type Post struct {
	PoolSize      int
	CheckIdle     time.Duration
	MaxIdle       time.Duration
	OnUnknown     string // retry or hold
	SenderAliases []string
	AllowDelegate bool
	Limits        []Limit
	SentItems     *SentItems // nil: nobody looks for what was sent
}

// SentItems is the way to the copies of what was sent: that of the mailbox's inbound side.
type SentItems struct {
	Protocol    Protocol // IMAP, EWS or Graph
	Mechanism   Mechanism
	Margin      time.Duration
	Endpoint    Endpoint
	Impersonate bool
	Folder      string // empty = the one that the server marks
}

// Limit is how much a mailbox may send within any window of that length.
type Limit struct {
	Unit   string // messages, recipients or bytes
	Most   int64
	Window time.Duration
}

// When Exchange Online switches EWS off: from the first day on tenant by tenant, unless an administrator has listed the
// application; on the second for good. Microsoft's announcements as of 2026; Exchange on premises keeps it.
var (
	ewsPhaseOut = time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC)
	ewsEnd      = time.Date(2027, 4, 1, 0, 0, 0, 0, time.UTC)
)

// Retires is when the provider switches the section's protocol off, and what to do; zero if it does not.
func (s *Section) Retires(now time.Time) (at time.Time, what string) {
	if s.Protocol != EWS || !exchangeOnline(s.Endpoint.Server) {
		return time.Time{}, ""
	}
	if now.Before(ewsPhaseOut) {
		return ewsPhaseOut, "Exchange Online begins to switch EWS off: move the mailbox to GRAPH, or list the application in EwsAllowedAppIDs"
	}
	return ewsEnd, "Exchange Online switches EWS off for good: move the mailbox to GRAPH"
}

// exchangeOnline says whether a host is one of Microsoft's clouds.
func exchangeOnline(host string) bool {
	for _, c := range clouds {
		if c.imap != "" && strings.EqualFold(c.imap, host) {
			return true
		}
	}
	return false
}
