// Package tokenclient is the worker's side of the broker: it asks for tokens, reports refused ones, and watches which
// mailboxes there are to serve. No other package of a worker knows gRPC or the generated messages.
//
// A worker wraps whatever presents a token in Use:
//
//	conn, tok, err := tokenclient.Use(ctx, broker, tokenclient.Ask{Mailbox: "support@contoso.com", Direction: tokenclient.Inbound},
//		func(ctx context.Context, tok tokenclient.Token) (*Conn, error) { return dial(ctx, tok) })
//
// Use asks for a token, calls the function, and if the server refused the token, tells the broker which one and tries
// once more with another. A protocol that binds the token to the connection (IMAP, POP3, SMTP) keeps tok beside the
// connection and starts nothing new on it once tok.Usable says no.
//
// A Client keeps nothing: it asks the broker each time. A Cache in front of it keeps the tokens that were asked for, has
// the broker tell when they change, and so goes on for minutes while the broker is away.
package tokenclient
