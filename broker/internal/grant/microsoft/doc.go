// Package microsoft mints access tokens at Microsoft Entra ID.
//
// MSAL for Go makes the requests of client_credentials, and of the password grant for public clients, because it knows
// federated realms. It mints only: its cache refuses tokens in their last five minutes and asks the network once per
// caller, so each call gets an empty one. What it cannot send (a refresh token, a password together with a client secret)
// golang.org/x/oauth2/clientcredentials sends, with grant_type overridden.
//
// Neither library's results or errors are used: package wire keeps the exchange, and the token is read from that. MSAL's
// errors hold whole requests and answers.
package microsoft
