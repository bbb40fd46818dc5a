// Package wire opens connections to mail servers: TCP, straight or through an HTTP or SOCKS5 proxy, with TLS from the first
// byte or later.
//
//	c, err := wire.Dial(ctx, wire.Options{Host: "outlook.office365.com", Port: 993, Security: wire.TLS, ConnectTimeout: 30 * time.Second})
//	c.Await(time.Minute) // from here on a minute of silence is an error
//
// A Conn bounds silence, not commands: each byte that moves gives the peer new time. That keeps a large message on a slow
// line alive and finds a dead peer. Text in the clear goes to loopback only.
package wire
