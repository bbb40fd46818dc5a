// Package google mints access tokens at Google's token endpoint, with golang.org/x/oauth2.
//
// The grant is refresh_token (RFC 6749 section 6). Google sends no new refresh token: the old one stays. Its client secret
// is sent for installed applications too, always in the form: the library's way of finding out how (AuthStyle zero) sends
// a failed request twice.
package google

import (
	"context"

	"golang.org/x/oauth2"

	"mailporter/broker/internal/grant/wire"
	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
	"mailporter/kit/secret"
)

// hosts are Google's token endpoints.
var hosts = []string{"oauth2.googleapis.com", "accounts.google.com", "www.googleapis.com"}

// Grant mints at Google. Any number of goroutines may use it.
type Grant struct {
	options wire.Options
	client  *wire.Client
}

// New makes a Grant; the error is about the proxy. End it with Close.
func New(o wire.Options) (*Grant, error) {
	c, err := wire.New(o)
	if err != nil {
		return nil, err
	}
	return &Grant{o, c}, nil
}

// Close closes idle connections.
func (g *Grant) Close() { g.client.CloseIdleConnections() }

// Mint makes one token request to c.Authority, the URL of the token endpoint. See keeper.Grant.
func (g *Grant) Mint(ctx context.Context, c token.Credential, refresh secret.String, _ token.Audience) (keeper.Minted, error) {
	about := remedy.About{Provider: string(token.Google), Authority: c.Authority, Client: c.ClientID, User: c.User}
	host := wire.Host(c.Authority)
	if !wire.Allowed(host, hosts) && !wire.Allowed(host, g.options.Extra()) {
		return keeper.Minted{}, wire.NotAllowed(about)
	}
	if c.Grant != token.RefreshToken {
		return keeper.Minted{}, wire.NotServed(c.Grant)
	}
	ctx, x := wire.Record(ctx, func(h string) bool { return h == host })
	config := oauth2.Config{ClientID: c.ClientID, Endpoint: oauth2.Endpoint{TokenURL: c.Authority, AuthStyle: oauth2.AuthStyleInParams}}
	if len(c.Secrets) > 0 {
		config.ClientSecret = c.Secrets[0].Reveal()
	}
	ctx = context.WithValue(ctx, oauth2.HTTPClient, g.client.HTTP())
	_, err := config.TokenSource(ctx, &oauth2.Token{RefreshToken: refresh.Reveal()}).Token()
	a, err := x.Result(g.options.Table(), about, err)
	return keeper.Minted{Token: a.Token, Refresh: a.Refresh}, err
}
