// Package imap reads a folder of a mailbox over IMAP4rev1 (RFC 3501; RFC 9051 where servers follow it).
//
// A Source holds at most one connection. It dials with a token from the broker, keeps the connection while the token is
// usable, and redials by plan after that; Exchange ends a session with its token, Gmail sooner or later. It never retries:
// its caller does.
//
//   - Handle: UIDVALIDITY and UID. Cursor: UIDVALIDITY, the last UID, and the fingerprints of the newest messages (cursor.go).
//   - Key: a hash of Message-ID, INTERNALDATE and size, which outlives a new UIDVALIDITY, and an ordinal that tells messages
//     apart that are equal in all three (key.go says what that cannot do). Never a hash of the bytes: Exchange
//     rebuilds MIME from its store, and two downloads of one message differ.
//   - No CONDSTORE, QRESYNC or ESEARCH: Exchange Online has none of them.
//   - EMAILID (RFC 8474) would be the better key: the library cannot ask for it, and an answer with it ends the connection.
//   - Names go out in modified UTF-7. UTF8=ACCEPT is not enabled and IMAP4rev2 not seen: the library writes "&" wrongly then.
//   - Removing needs MOVE (RFC 6851) or UIDPLUS (RFC 4315). With neither, a message is flagged \Deleted and left for the
//     user's own program: plain EXPUNGE would remove what others flagged.
//   - New mail at once by IDLE (RFC 2177) in rounds of at most nine minutes: Gmail drops idle connections after ten.
//
// The library is github.com/emersion/go-imap/v2. Its client has no contexts and no time-outs that we can set, takes a cut
// message for a whole one, and swallows a BYE's text; conn.go and fetch.go deal with that. It hangs up at whatever it cannot
// read, so what nobody needs never reaches it: answers.go.
package imap
