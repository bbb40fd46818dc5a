// Package stream is the sink that adds every message to a Redis stream, where any number of consumers share them in
// groups (XREADGROUP).
//
// An entry has the fields id, mailbox, folder, received (RFC 3339, absent if unknown), digest (SHA-256 of the message in
// hexadecimal) and message (the bytes as the server gave them). A script adds it unless its id was added before, so that a
// message that is put again, after a crash or a lost answer, is there once. Ids are remembered for 90 days.
//
// Nothing is ever trimmed: consumers delete what they are done with (XDEL). A bound on the length makes the mail wait in
// its mailboxes when they fall behind.
package stream
