// Package clock watches the broker's own clock. A token's end is counted on it: a clock that is behind by more than the margin
// hands out tokens that are over, and one that is ahead renews too early. The clocks it is compared with are those that
// matter: Redis's, by which leases lapse, and the providers', by which tokens do.
//
// Every look brings an interval in which the difference must lie: the other clock was read between our sending and our
// receiving, and is told in steps of its resolution (a Date header: one second). What the last few allow together counts,
// and older ones are forgotten when a newer one contradicts them: then a clock was set.
package clock
