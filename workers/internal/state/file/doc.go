// Package file keeps a worker's memory in one folder: SQLite for cursors, quarantine and outbox, and spool files for large
// messages. It serves one process; a lock file says so.
//
// Everything that was acknowledged survives kill -9 and a power cut: the database runs in WAL mode with synchronous=FULL,
// and a spool file is fsynced, and so is its folder, before the row that names it is committed. One goroutine writes, and
// everybody who waits at the same moment shares its commit, because the fsync is where the time goes.
//
// Leases live in memory alone: whoever holds the lock file knows that every former holder is dead. For the same reason a
// claim ends with the process that made it, and its job comes back in doubt.
package file
