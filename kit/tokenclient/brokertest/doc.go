// Package brokertest is a broker for the tests of workers: a real gRPC server in the test's own process, over a connection
// in memory or on loopback, with mailboxes and tokens as the test says.
//
//	b := brokertest.New(t)
//	b.SetMailboxes(tokenclient.Settings{Mailbox: "a@example.com", Direction: tokenclient.Inbound, ...})
//	b.OnMint(func(a tokenclient.Ask) (string, time.Time, error) { return idp.Token(a.Mailbox), time.Now().Add(time.Hour), nil })
//	client := b.Client(t)
//
// It keeps the contract's margin rule, generations, rejection outcomes and watches, but no policy and no credentials. It works
// inside testing/synctest bubbles.
package brokertest
