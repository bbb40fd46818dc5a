// Package smtp sends mail through a submission server: RFC 5321 and 6409, AUTH (RFC 4954), STARTTLS (RFC 3207), SIZE
// (RFC 1870), 8BITMIME (RFC 6152), SMTPUTF8 (RFC 6531), PIPELINING (RFC 2920) and DSN (RFC 3461) where offered.
//
// A Transport is one mailbox. It keeps at most as many connections as the mailbox may have and uses them again. A
// connection is bound to the token it logged in with: nothing new starts on it once the token comes near its end.
//
// The bytes of a message go out as they are, but for the dots that RFC 5321 section 4.5.2 wants doubled. A message with a
// lone CR or LF is refused: what one server takes for a line end and another does not is how mail is smuggled.
//
// It speaks the protocol itself: the client of go-smtp turns a lone LF into CRLF, always declares BODY=8BITMIME, waits for
// every reply, and cannot be cancelled.
//
// Servers: Exchange Online takes three connections per mailbox and answers 432 4.3.2 beyond; a good login proves nothing
// about the right to send, its refusal comes after DATA (554 5.2.252). Gmail sends the reason for a refused token in a
// 334 challenge. Tokens of 1.5 to 4 kB exceed command lines, so the mechanism goes first and the token alone after it.
package smtp
