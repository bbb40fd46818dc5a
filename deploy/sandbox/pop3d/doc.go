// Package pop3d is a POP3 server (RFC 1939, 2449, 2595, 3206, 5034) with the manners of Exchange Online or Gmail.
//
//	server.go    the port, the connections, the lock on each maildrop
//	session.go   a connection from its greeting to its end, and the states between
//	commands.go  the commands of a mailbox
//	wire.go      lines, answers, TLS
//	trouble.go   what goes wrong on demand
//	auth.go      USER and PASS, AUTH
//	maildrop.go  what a session sees, and what its QUIT changes
//	profile.go   what the two providers say
package pop3d
