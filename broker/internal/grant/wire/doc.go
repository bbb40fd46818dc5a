// Package wire is the HTTP that the grants have in common: one exchange with a token endpoint, bounded in time and size,
// kept as it was.
//
// The libraries that build the requests count a token's life from when they parsed it, put whole answers into their errors
// and know nothing of refresh_in. So none of what they return is used: the Exchange notes when the request was sent and
// what came, and Token reads that.
package wire
