// Package google mints access tokens at Google's token endpoint, with golang.org/x/oauth2.
//
// Two grants: refresh_token (RFC 6749 section 6), for which Google sends no new refresh token: the old one stays. Its client
// secret is sent for installed applications too, always in the form: the library's way of finding out how (AuthStyle zero)
// sends a failed request twice. And service_account (RFC 7523 section 2.1): an assertion for one mailbox, signed anew each
// time with the key of a service account to which the domain's administrator delegated.
package google

import (
	"context"
	"strings"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/jwt"

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
func (g *Grant) Mint(ctx context.Context, c token.Credential, refresh secret.String, aud token.Audience) (keeper.Minted, error) {
	about := remedy.About{Provider: string(token.Google), Authority: c.Authority, Client: c.ClientID, User: c.User,
		Number: c.Robot.Number, AppOnly: c.Grant == token.ServiceAccount}
	host := wire.Host(c.Authority)
	if !wire.Allowed(host, hosts) && !wire.Allowed(host, g.options.Extra()) {
		return keeper.Minted{}, wire.NotAllowed(about)
	}
	ctx, x := wire.Record(ctx, func(h string) bool { return h == host })
	ctx = context.WithValue(ctx, oauth2.HTTPClient, g.client.Bound(ctx))
	var source oauth2.TokenSource
	switch c.Grant {
	case token.RefreshToken:
		source = consented(ctx, c, refresh)
	case token.ServiceAccount:
		source = delegated(ctx, c, aud)
	default:
		return keeper.Minted{}, wire.NotServed(c.Grant)
	}
	_, err := source.Token()
	a, err := x.Result(g.options.Table(), about, err)
	return keeper.Minted{Token: a.Token, Refresh: a.Refresh}, err
}

// consented asks with the refresh token of a user's consent.
func consented(ctx context.Context, c token.Credential, refresh secret.String) oauth2.TokenSource {
	config := oauth2.Config{ClientID: c.ClientID, Endpoint: oauth2.Endpoint{TokenURL: c.Authority, AuthStyle: oauth2.AuthStyleInParams}}
	if len(c.Secrets) > 0 {
		config.ClientSecret = c.Secrets[0].Reveal()
	}
	return config.TokenSource(ctx, &oauth2.Token{RefreshToken: refresh.Reveal()})
}

// delegated asks in the name of c.User. The key file's token_uri plays no part: where to send an assertion is not for a
// file to say.
func delegated(ctx context.Context, c token.Credential, aud token.Audience) oauth2.TokenSource {
	config := jwt.Config{
		Email: c.ClientID, PrivateKey: []byte(c.Robot.Key.Reveal()), PrivateKeyID: c.Robot.KeyID, Subject: c.User,
		Scopes: strings.Fields(string(aud)), TokenURL: c.Authority, Audience: c.Authority,
	}
	return config.TokenSource(ctx)
}
