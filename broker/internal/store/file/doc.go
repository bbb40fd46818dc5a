// Package file keeps tokens and credential records in one SQLite database, for one broker process. A row that was written
// is on the disk (WAL, synchronous=FULL): a record survives kill -9 and a power cut.
//
// Leases are kept in memory: a lock file keeps other processes out, so the leases of a dead one are void. Their fencing
// numbers are in the database and only grow.
package file
