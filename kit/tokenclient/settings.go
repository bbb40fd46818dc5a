package tokenclient

import "time"

// Settings is what a worker needs to know to serve one side of one mailbox. It holds no secret. Which of Inbound and
// Outbound means something is said by Direction.
type Settings struct {
	Mailbox   string // address
	Direction Direction
	Protocol  Protocol
	Endpoint  Endpoint
	Margin    time.Duration // token-expiry-margin-time
	Inbound   InboundSettings
	Outbound  OutboundSettings
	Version   string // opaque; changes whenever any of the above does
}

// Ask is the question for this side's credential.
func (s Settings) Ask() Ask { return Ask{Mailbox: s.Mailbox, Direction: s.Direction} }

// Endpoint is a mail server and how to reach it.
type Endpoint struct {
	Server          string // host, without port; for EWS and Graph the host of the URL
	Port            int
	Security        Security
	User            string // the mailbox to open
	Mechanism       Mechanism
	ConnectTimeout  time.Duration // longest time to connect and log in
	ProtocolTimeout time.Duration // longest silence within a command
	Proxy           string        // http://host:port or socks5://host:port; empty for none
	TwoLine         bool          // POP3: AUTH XOAUTH2 on a line of its own, the token on the next
	Impersonate     bool          // EWS: the token is the application's own, name the mailbox in ExchangeImpersonation
}

// InboundSettings is the inbound side.
type InboundSettings struct {
	Folders      []string      // to read, in order; never empty
	CycleTime    time.Duration // how often each is looked at
	MaxSize      int64         // larger messages are quarantined, in bytes; 0 = no limit
	MaxNumber    int           // most messages in one cycle; 0 = no limit
	After        After
	AfterFolder  string // where After Move moves to
	FailedFolder string // where quarantined messages go; empty = they stay
	Junk         Junk
	DeliverTo    string // name of the worker's sink
}

// OutboundSettings is the outbound side.
type OutboundSettings struct {
	PoolSize      int           // most connections at a time
	CheckIdle     time.Duration // a connection idle for longer is checked before use; 0 = always
	MaxIdle       time.Duration // a connection idle for longer is closed
	OnUnknown     OnUnknown
	SenderAliases []string // may stand as sender besides the mailbox; a leading *@ matches a domain
	AllowDelegate bool     // Graph: send on behalf of or as another address
	Limits        []Limit  // what the provider lets the mailbox send; none = any amount
	SentItems     *SentItems
}

// SentItems is a way to the copies of what a mailbox sent over SMTP: that of its inbound side. nil = there is none.
type SentItems struct {
	Protocol Protocol // IMAP, EWS or Graph
	Endpoint Endpoint
	Margin   time.Duration // token-expiry-margin-time of the inbound side
	Folder   string        // empty = the one that the server marks as that of sent mail
}

// SentItemsSide is the inbound side to look for sent mail in, as far as that needs it. s has SentItems.
func (s Settings) SentItemsSide() Settings {
	to := s.Outbound.SentItems
	return Settings{
		Mailbox: s.Mailbox, Direction: Inbound, Protocol: to.Protocol, Endpoint: to.Endpoint, Margin: to.Margin, Version: s.Version,
	}
}

// Limit is how much a mailbox may send within any window of that length.
type Limit struct {
	Unit   Unit
	Most   int64 // at least 1
	Window time.Duration
}

// Unit is what a limit counts.
type Unit int

// The units, with the numbers of the contract.
const (
	Messages Unit = iota + 1
	Recipients
	Bytes
)

// String is the word for people; empty for a unit that is not known.
func (u Unit) String() string {
	return map[Unit]string{Messages: "messages", Recipients: "recipients", Bytes: "bytes"}[u]
}
