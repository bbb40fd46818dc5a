// Bench measures the workers that move mail: in against the programs that others wrote for the same, out against their own
// client without an outbox, and both against limits. Run it with `make bench`. Everything is a process of its own and talks
// TLS over loopback: Debian's Dovecot, the real broker and workers, mbsync, mpop, fetchmail and getmail, and the sandbox for
// Graph, EWS and many mailboxes.
//
// What was done to be fair:
//
//   - Both sides read the same messages from the same Dovecot with a password over TLS, and leave them there. Dovecot has
//     read every mailbox once before, so that its caches are warm for all.
//   - Both sides begin with nothing, and their time is that of the whole process: for ours from its start, with the
//     broker's settings to fetch and a new state, until the cursor behind the last message is saved.
//   - Both write to the same disk, as durably as they can be told to. What that is differs; the table's legend tells it. Ours
//     has file, folder and cursor on the disk before it counts a message.
//   - The two take turns, the one that goes first changing every time, and a ratio is the median of the ratios of neighbours.
//   - The slow ones read fewer messages of the same mix, and none has more than half a minute: the rate of what is cut short then
//     is up to its last message.
//
// For mail out Postfix's smtp-source hands the messages in at the worker's door, and the time is from the first one handed in to
// the last one sent. Its other side is workers/internal/straight: the same client, message, server and number of connections,
// and nothing that would outlive it. Both run without TLS, which would cost both alike. One server is Postfix's smtp-sink, which
// takes a message as fast as it is written and forgets it: what then is measured is the price of keeping mail. The other answers
// each message after a while, as those do that check and keep what they take.
//
// Dovecot starts as root only.
package main
