// Interop runs the workers against servers that others wrote: Debian's Dovecot and Postfix, with configuration of their
// own, on high loopback ports. The sandbox is only the identity provider here; Dovecot asks it about every token, for
// itself and for Postfix. Letters go in at the smtp-worker's intake, through Postfix and Dovecot's LMTP into mailboxes,
// and through the imap-worker and the pop3-worker into Maildirs, where they are compared byte for byte behind the trace
// headers. What Postfix wrote into its log about who logged in, and how, must agree with what arrived.
//
// Postfix starts as root only.
package main
