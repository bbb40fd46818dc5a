// Package redis keeps tokens and credential records in Redis (7.0 command set), for a fleet of brokers. All keys of one
// credential carry the same {hash tag}, so that every script touches one slot and works in a cluster as well.
//
//	mailporter:{ID}:record         the sealed record
//	mailporter:{ID}:unreadable     a record that did not open and was put aside by a reset
//	mailporter:{ID}:lease          fencing number and mark of who holds the lease; Redis lets it lapse
//	mailporter:{ID}:fence          the last fencing number; only grows
//	mailporter:{ID}:token:NAME     hash: g = generation, v = sealed token; lapses with the token
//	mailporter:changes             channel: the ID of a credential that somebody has just worked on
//
// Nothing is retried here: a command whose answer was lost may have been done. Time is Redis's own. Replication is
// asynchronous: a failover may forget a lease or a token, which costs a request, but never a record with a refresh token that
// Save acknowledged.
package redis
