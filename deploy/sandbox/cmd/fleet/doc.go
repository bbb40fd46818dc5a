// Fleet tries what workers that share mailboxes lose or double while they are killed. Several workers of each protocol
// that fetches mail share their mailboxes through one Redis; messages keep arriving; every few seconds one worker, drawn
// by lot, ends by kill -9 and is started again. Mail goes to Maildirs, to a webhook whose receiver drops answers, and to a
// Redis stream, and is then kept, marked, moved or deleted in its mailbox. In the end every message must have arrived
// once, byte for byte, and every mailbox must look as its disposition wants it.
//
//	fleet.go     the order of events, and the flags
//	cast.go      the mailboxes: every protocol, sink and disposition
//	launch.go    which programs, with which configuration
//	letters.go   the messages, and how they get into the mailboxes
//	receiver.go  the webhook's other end
//	tally.go     what arrived where, and what is left
//	report.go    the table
package main
