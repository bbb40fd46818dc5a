// Package mailstore is the mail store that all servers of the sandbox share: what arrives by SMTP can be fetched by IMAP.
//
// A Store holds mailboxes (one per address), a mailbox holds folders, a folder holds messages in the order of their UIDs.
// The bytes of a message are kept exactly as they were delivered: no Received line, no changed line end.
//
// Readers see snapshots: values that never change after they were handed out. Writers go through one committer, which
// writes what it is about to do to a journal, makes it durable with one fsync for everybody who waits at that moment, and
// only then lets readers see it. So whoever got a nil error may promise "250 queued": the message outlives kill -9. A
// Store opened without a folder does the same in memory alone.
//
// Start reading at Store, then record (what the journal holds) and journal (how it holds it).
package mailstore
