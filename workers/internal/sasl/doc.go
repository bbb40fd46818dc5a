// Package sasl is the client side of the SASL mechanisms with which mail servers let workers in: XOAUTH2 (Google's and
// Microsoft's), OAUTHBEARER (RFC 7628), PLAIN (RFC 4616) and LOGIN (as servers speak it; never standardized).
//
// It is the only place where the strings that carry a token are built. A Client is made for one login and thrown away
// after it. It fits github.com/emersion/go-sasl's interface, and so the IMAP and SMTP libraries.
//
// A server that refuses a token may say why in a challenge before it says no (Gmail and Dovecot do, Exchange does not). The
// client must answer that challenge, and the server's no follows. Client.Refusal keeps what the challenge said.
package sasl
