// Package smtp is the door by which programs hand in their mail: a submission server (RFC 6409) with PIPELINING, SIZE,
// 8BITMIME, SMTPUTF8, DSN, STARTTLS and AUTH PLAIN and LOGIN.
//
// MAIL FROM picks the mailbox that sends; a sender that belongs to none is refused there. The 250 that ends DATA comes
// after the Outbox has the message durably: from then on it is ours to deliver.
//
// What comes in is kept byte for byte, without a Received line. A message with a lone CR or LF is refused and the
// connection closed (RFC 5321 section 2.3.8): a server that mended it would change what was signed, one that passed it on
// would let mail be smuggled through whoever takes a lone LF for a line end. MendLineEnds is for programs that write text and
// that nobody can mend.
//
// It speaks the protocol itself. The server of go-smtp applies its limit on command lines to the lines of messages, loses
// the bytes of a dot and a lone CR at a line's start, and decodes quoted addresses, ENVID and ORCPT.
package smtp
