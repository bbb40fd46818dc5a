// Package smtpd is the sandbox's submission server (RFC 6409), once as Exchange Online (STARTTLS, AUTH after it) and once
// as Gmail (TLS from the first byte). Mail for the sandbox's own domains goes into the recipients' inboxes, a copy into the
// sender's sent folder, and what is for other domains into the store's list of outbound mail, all in one durable step:
// the 250 that ends DATA comes after it.
//
// Unlike a real server it adds no Received line and changes nothing else: what was submitted is what arrives, byte for
// byte. That is what makes it a measure for those who move mail.
package smtpd
