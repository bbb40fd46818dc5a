// Package triage works out why mail servers refuse tokens, from what workers report: it is the token, the mailbox (its
// protocol is off, a permission is missing), or the server, which refuses everybody. Only the first is cured by another
// token. A mailbox that is at fault costs its provider one renewal in half an hour, not one with every attempt, and the
// others that share its credential go on.
//
// It knows what was reported to this broker since it started.
package triage
