package microsoft

import (
	"context"
	"sync"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/cache"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"

	"mailporter/broker/internal/grant/wire"
	"mailporter/broker/internal/token"
	"mailporter/kit/secret"
)

// application is what MSAL keeps metadata for.
type application struct{ authority, directory, client string }

// confidentialClient is MSAL's client for an application with one secret or certificate.
type confidentialClient struct {
	client confidential.Client
	proof  secret.Fingerprint
}

// clients are MSAL's, one per application: each reads the directory's metadata once in its life. Another secret or
// certificate makes a new one.
type clients struct {
	mu     sync.Mutex
	known  map[application]confidentialClient
	public map[application]public.Client
}

// noCache is always empty, so that every call goes to the network: the Keeper has the cache.
type noCache struct{}

func (noCache) Replace(_ context.Context, c cache.Unmarshaler, _ cache.ReplaceHints) error {
	return c.Unmarshal([]byte("{}"))
}

func (noCache) Export(context.Context, cache.Marshaler, cache.ExportHints) error { return nil }

func (g *Grant) appOnly(ctx context.Context, c token.Credential, scopes []string) error {
	client, err := g.confidential(c)
	if err != nil {
		return err
	}
	_, err = client.AcquireTokenByCredential(ctx, scopes)
	return err
}

func (g *Grant) publicPassword(ctx context.Context, c token.Credential, scopes []string) error {
	client, err := g.public(c)
	if err != nil {
		return err
	}
	//lint:ignore SA1019 deprecated for people who have a choice; mailboxes that only this grant opens have none
	_, err = client.AcquireTokenByUsernamePassword(ctx, scopes, c.User, c.Password.Reveal())
	return err
}

// confidential returns the application's client. Instance discovery is on for Microsoft's own hosts only: for any other
// it would ask login.microsoftonline.com where to send the secret.
func (g *Grant) confidential(c token.Credential) (confidential.Client, error) {
	app, proof := application{c.Authority, c.Directory, c.ClientID}, c.Proof()
	g.msal.mu.Lock()
	defer g.msal.mu.Unlock()
	if k, ok := g.msal.known[app]; ok && k.proof == proof {
		return k.client, nil
	}
	cred, err := proofOf(c)
	if err != nil {
		return confidential.Client{}, err
	}
	client, err := confidential.New(authority(c), c.ClientID, cred, confidential.WithHTTPClient(g.client),
		confidential.WithCache(noCache{}), confidential.WithInstanceDiscovery(wire.Allowed(wire.Host(c.Authority), hosts)),
		confidential.WithAzureRegion("DisableMsalForceRegion")) // or an environment variable would choose the endpoint
	if err == nil {
		g.msal.known[app] = confidentialClient{client, proof}
	}
	return client, err
}

func (g *Grant) public(c token.Credential) (public.Client, error) {
	app := application{c.Authority, c.Directory, c.ClientID}
	g.msal.mu.Lock()
	defer g.msal.mu.Unlock()
	if client, ok := g.msal.public[app]; ok {
		return client, nil
	}
	client, err := public.New(c.ClientID, public.WithAuthority(authority(c)), public.WithHTTPClient(sparing{g.client}),
		public.WithCache(noCache{}), public.WithInstanceDiscovery(wire.Allowed(wire.Host(c.Authority), hosts)))
	if err == nil {
		g.msal.public[app] = client
	}
	return client, err
}

func authority(c token.Credential) string { return c.Authority + "/" + c.Directory }

func firstSecret(c token.Credential) secret.String {
	if len(c.Secrets) == 0 {
		return secret.String{}
	}
	return c.Secrets[0]
}
