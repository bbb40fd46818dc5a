// Package redis keeps the workers' memory in a Redis: leases, cursors, quarantine and outbox of a whole fleet.
//
// Every decision is one script, so that it happens at once or not at all, and takes the time from Redis, because the
// clocks of two pods differ. All keys of a folder, and all of a mailbox's outbox, share a hash tag: the same scripts work
// in a cluster. Commands are never sent twice by themselves; an answer that was lost is an error here, and every script
// may be run again.
//
// Keys, all beginning with mailporter-worker: {f:HASH}:lease, :fence and :cursor of a folder; {q:MAILBOX}:items and :since of
// a quarantine; {m:MAILBOX}:due and :claimed (sorted by time in microseconds), :all (by arrival), :job:ID, :body:ID and
// :request:ID of an outbox; mailboxes and quarantined, which know the mailboxes there are.
//
// What survives a crash is up to the server: appendonly yes and appendfsync always keep everything that was acknowledged. What
// survives a failover is what a replica had: a message counts as taken once one has it, claims and settlements wait for it a
// second at most. Cursors, leases and notes do not wait: losing one makes a worker look at messages again that a sink then
// recognizes by their keys.
package redis
