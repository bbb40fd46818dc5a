// Package pop3 reads a mailbox over POP3: RFC 1939, with CAPA (RFC 2449), STLS (RFC 2595), AUTH (RFC 5034) and the response
// codes of RFC 2449 and RFC 3206.
//
// A Source holds at most one connection. It dials with a token from the broker and redials by plan when the token's time is
// up. It never retries: its caller does. A session is one walk through the maildrop: what arrives meanwhile only the next
// one shows, so List dials anew once it has shown everything.
//
//   - A session locks the mailbox, for other programs and for new mail alike. Yield ends it, and the Mover calls that
//     whenever it waits.
//   - Handle: the UIDL, unique and persistent by RFC 1939 section 7; each session maps it to a message number. Messages that
//     share a UIDL all the same get an ordinal (maildrop.go).
//   - Key: a hash of the handle, so it outlives a lost cursor. A server that gives every message another UIDL, as a move to
//     another server does, has a mailbox full of new mail.
//   - Cursor: a mark for every UIDL that was seen and is still there (cursor.go). Servers without UIDL are refused: without it
//     mail can be told apart only by deleting it.
//   - QUIT alone deletes, so Settle sends DELE for all and QUITs. RETR of the next messages is asked ahead where the server
//     offers PIPELINING (retrieve.go); Exchange does not.
//   - A message without a line end after its last line gets one on its way: RFC 1939 section 3 has no other way to end it.
//
// There are no folders and no flags: Config.Validate refuses settings that need them.
package pop3
