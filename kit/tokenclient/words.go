package tokenclient

import (
	"fmt"
	"slices"
	"strings"
)

// Direction is one side of a mailbox. The zero value means any, where any makes sense.
type Direction int

// The sides of a mailbox.
const (
	Inbound  Direction = iota + 1 // mail out of the mailbox: its section pop-client
	Outbound                      // mail into the world: its section smtp-client
)

// Protocol is what one side of a mailbox speaks. The zero value means any, where any makes sense.
type Protocol int

// The protocols.
const (
	POP3 Protocol = iota + 1
	IMAP
	SMTP
	EWS
	Graph
)

// Mechanism is how a credential is presented to the mail server.
type Mechanism int

// The mechanisms. NoLogin is a server that asks for no credential: there is no token to acquire then.
const (
	NoLogin     Mechanism = iota
	XOAUTH2               // SASL
	OAUTHBEARER           // SASL, RFC 7628
	Bearer                // HTTP, RFC 6750
	Basic                 // user name and password
)

// Security is how the connection to the mail server is protected.
type Security int

// The kinds of protection.
const (
	PlainText Security = iota + 1 // loopback only
	StartTLS                      // STARTTLS or STLS, required
	TLS                           // from the first byte
)

// After is what becomes of a message once the sink has it.
type After int

// What may become of it.
const (
	Keep After = iota + 1
	MarkRead
	Move // to Inbound.AfterFolder
	Delete
)

// Junk is what to do about the junk folder.
type Junk int

// What may be done about it.
const (
	JunkRead   Junk = iota + 1 // fetch its messages like any
	JunkCount                  // count them and say since when they wait
	JunkIgnore                 // do not look
)

// OnUnknown is what to do with a message when the link broke after it was handed over.
type OnUnknown int

// What may be done with it.
const (
	RetryUnknown OnUnknown = iota + 1 // send again; the recipient may see it twice
	HoldUnknown                       // keep until an operator decides
)

// RefusalKind is how a server refused a token.
type RefusalKind int

// The ways to refuse.
const (
	RefusedBySASL   RefusalKind = iota + 1 // IMAP NO, POP3 -ERR, SMTP 535
	RefusedByHTTP                          // 401
	RefusedByClaims                        // 401 with a claims challenge
	RefusedInFlight                        // a running session was ended because of its token
)

// OutcomeKind is what the broker does about a refused token.
type OutcomeKind int

// The outcomes.
const (
	AlreadyReplaced OutcomeKind = iota + 1 // it was an old one: ask again
	Replacing                              // it was the current one: ask for a newer one
	Suppressed                             // fresh tokens keep being refused: the mailbox is at fault, wait
)

// The words as configuration files, logs and metric labels spell them, in the order of the constants.
var (
	directions   = []string{"any", "inbound", "outbound"}
	protocols    = []string{"any", "POP3", "IMAP", "SMTP", "EWS", "GRAPH"}
	mechanisms   = []string{"none", "XOAUTH2", "OAUTHBEARER", "BEARER", "BASIC"}
	securities   = []string{"unset", "none", "starttls", "tls"}
	afters       = []string{"unset", "keep", "mark-read", "move", "delete"}
	junks        = []string{"unset", "read", "count", "ignore"}
	onUnknowns   = []string{"unset", "retry", "hold"}
	refusalKinds = []string{"unset", "sasl", "http", "claims", "in-flight"}
	outcomeKinds = []string{"unset", "already-replaced", "replacing", "suppressed"}
)

func (d Direction) String() string   { return word(directions, d) }
func (p Protocol) String() string    { return word(protocols, p) }
func (m Mechanism) String() string   { return word(mechanisms, m) }
func (s Security) String() string    { return word(securities, s) }
func (a After) String() string       { return word(afters, a) }
func (j Junk) String() string        { return word(junks, j) }
func (o OnUnknown) String() string   { return word(onUnknowns, o) }
func (k RefusalKind) String() string { return word(refusalKinds, k) }
func (k OutcomeKind) String() string { return word(outcomeKinds, k) }

// ParseDirection reads "inbound", "outbound" or "any"; like every Parse here it does not mind case.
func ParseDirection(s string) (Direction, error) {
	return parse[Direction]("direction", directions, 0, s)
}

// ParseProtocol reads "POP3", "IMAP", "SMTP", "EWS", "GRAPH" or "any".
func ParseProtocol(s string) (Protocol, error) { return parse[Protocol]("protocol", protocols, 0, s) }

// ParseMechanism reads "XOAUTH2", "OAUTHBEARER", "BEARER", "BASIC" or "none".
func ParseMechanism(s string) (Mechanism, error) {
	return parse[Mechanism]("mechanism", mechanisms, 0, s)
}

// ParseSecurity reads "none", "starttls" or "tls".
func ParseSecurity(s string) (Security, error) { return parse[Security]("security", securities, 1, s) }

// ParseAfter reads "keep", "mark-read", "move" or "delete".
func ParseAfter(s string) (After, error) { return parse[After]("disposition", afters, 1, s) }

// ParseJunk reads "read", "count" or "ignore".
func ParseJunk(s string) (Junk, error) { return parse[Junk]("junk rule", junks, 1, s) }

// ParseOnUnknown reads "retry" or "hold".
func ParseOnUnknown(s string) (OnUnknown, error) {
	return parse[OnUnknown]("on-unknown rule", onUnknowns, 1, s)
}

func word[T ~int](words []string, v T) string {
	if v < 0 || int(v) >= len(words) {
		return fmt.Sprintf("unknown(%d)", int(v))
	}
	return words[v]
}

// parse finds s among the words from first on.
func parse[T ~int](what string, words []string, first int, s string) (T, error) {
	i := slices.IndexFunc(words[first:], func(w string) bool { return strings.EqualFold(w, s) })
	if i < 0 {
		return 0, fmt.Errorf("%q is no %s; use one of: %s", s, what, strings.Join(words[first:], ", "))
	}
	return T(first + i), nil
}
