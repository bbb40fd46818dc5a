// Package pop3d is a POP3 server (RFC 1939, 2449, 2595, 3206, 5034) with the manners of Exchange Online or Gmail.
//
//	server.go    the port, the connections, the lock on each maildrop
//	session.go   commands, one after the other
//	auth.go      USER and PASS, AUTH
//	maildrop.go  what a session sees, and what its QUIT changes
//	profile.go   what the two providers say
package pop3d
