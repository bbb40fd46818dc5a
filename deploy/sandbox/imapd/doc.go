// Package imapd serves the sandbox's mail store by IMAP4rev1 (RFC 3501), once as Exchange Online and once as Gmail does.
//
// The protocol itself is go-imap's server; what it cannot say is added around it. conn stands between it and the
// network: it announces each provider's own capabilities and texts, takes AUTHENTICATE in one and in two steps with tokens
// of any length, does STARTTLS, and cuts, resets or says BYE when a fault or the end of a token wants it. session
// answers the commands from snapshots of the store, so that a client sees changes by others only when it may.
package imapd
