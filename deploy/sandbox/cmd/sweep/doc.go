// Sweep tries what workers that send lose or double when the link breaks, or the worker dies, at any step on the way out.
// Thousands of messages are handed in over SMTP to smtp-worker, ews-worker and graph-worker, real processes over real
// sockets. One step of a protocol after the other is under attack: the simulated provider cuts the connection there, having
// done the step or not, or it leaves the request unanswered until the worker was ended by kill -9 and started again. The
// submitter, too, is cut off and loses its worker in the middle of a message.
//
// In the end every message that was taken must have arrived, byte for byte: over EWS and Graph once, and over SMTP, which
// cannot be asked, twice at most where the worker's log marks it as sent again, and once where the mailbox's sent items tell. What on-unknown: hold keeps is ended by
// brokerctl outbox retry and drop.
//
//	sweep.go    the order of events, and the flags
//	cast.go     the protocols, their steps, and the mailbox of each
//	launch.go   which programs, with which configuration
//	letters.go  the messages, and how they are told apart
//	door.go     handing a message in
//	post.go     handing in all of them, again and again until each is taken
//	attack.go   cutting and killing at a step
//	held.go     what an operator does about messages in doubt
//	marks.go    what the workers told of messages that they sent again
//	tally.go    what arrived, and what became of it
//	report.go   the table
package main
