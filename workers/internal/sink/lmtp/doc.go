// Package lmtp is the sink that hands every message to an LMTP server: RFC 2033. Dovecot, Cyrus and Postfix' local
// delivery speak it.
//
// The envelope has the null sender: a final delivery must not bounce to whoever the message names. The recipient is the
// mailbox's address unless the configuration says otherwise. With CHUNKING (RFC 3030) the bytes go as they are; without
// it DATA cannot carry a lone CR or LF, so such a message is refused for good, and one without a line end gets one.
//
// An LMTP server cannot tell a second copy. Deliveries are therefore remembered in the worker's state: what can be doubled
// is the message whose answer was lost, or whose worker died between the answer and the note of it.
package lmtp
