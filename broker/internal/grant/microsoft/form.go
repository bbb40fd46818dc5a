package microsoft

import (
	"context"
	"net/url"
	"slices"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"mailporter/broker/internal/token"
	"mailporter/kit/secret"
)

// offline asks for the next refresh token: without it Entra may not send one, and the present one ends after 90 days.
const offline = "offline_access"

// refresh sends a scope, which x/oauth2's own refresh does not: at Entra the scope chooses the resource.
func (g *Grant) refresh(ctx context.Context, c token.Credential, with secret.String, scopes []string) error {
	if !slices.Contains(scopes, offline) {
		scopes = append(scopes, offline)
	}
	return g.post(ctx, c, scopes, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {with.Reveal()}})
}

// confidentialPassword sends the proof of the application along, which MSAL does not.
func (g *Grant) confidentialPassword(ctx context.Context, c token.Credential, scopes []string) error {
	return g.post(ctx, c, scopes, url.Values{"grant_type": {"password"}, "username": {c.User}, "password": {c.Password.Reveal()}})
}

func (g *Grant) post(ctx context.Context, c token.Credential, scopes []string, params url.Values) error {
	endpoint := authority(c) + "/oauth2/v2.0/token"
	if err := assert(params, c, endpoint); err != nil {
		return err
	}
	config := clientcredentials.Config{
		ClientID: c.ClientID, ClientSecret: firstSecret(c).Reveal(), Scopes: scopes, EndpointParams: params,
		TokenURL:  endpoint,
		AuthStyle: oauth2.AuthStyleInParams, // finding out would send a refused request twice
	}
	_, err := config.Token(context.WithValue(ctx, oauth2.HTTPClient, g.client.HTTP()))
	return err // only wire.Exchange.Result sees it: it quotes the answer
}
