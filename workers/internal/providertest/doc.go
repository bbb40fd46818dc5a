// Package providertest is the ground on which the tests of the edges stand: a provider, a broker that mints its tokens,
// and a mailbox whose folders the test fills and looks into.
package providertest
