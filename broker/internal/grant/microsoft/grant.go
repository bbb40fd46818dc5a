package microsoft

import (
	"context"
	"strings"

	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"

	"mailporter/broker/internal/grant/wire"
	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
	"mailporter/kit/secret"
)

// hosts are the authorities of Microsoft's clouds.
var hosts = []string{
	"login.microsoftonline.com", "login.windows.net", "login.microsoft.com", "sts.windows.net",
	"login.microsoftonline.us", "login.usgovcloudapi.net",
	"login.partner.microsoftonline.cn", "login.chinacloudapi.cn",
	"login.sovcloud-identity.fr", "login.sovcloud-identity.de", "login.sovcloud-identity.sg",
}

// Grant mints at Entra ID. Any number of goroutines may use it.
type Grant struct {
	options wire.Options
	client  *wire.Client
	msal    clients
}

// New makes a Grant; the error is about the proxy. End it with Close.
func New(o wire.Options) (*Grant, error) {
	c, err := wire.New(o)
	if err != nil {
		return nil, err
	}
	return &Grant{options: o, client: c, msal: clients{
		known: map[application]confidentialClient{}, public: map[application]public.Client{},
	}}, nil
}

// Close closes idle connections.
func (g *Grant) Close() { g.client.CloseIdleConnections() }

// Mint makes one token request; MSAL reads the directory's metadata before the first one of an application, and the
// user's realm before each one with a password. See keeper.Grant.
func (g *Grant) Mint(ctx context.Context, c token.Credential, refresh secret.String, a token.Audience) (keeper.Minted, error) {
	about := remedy.About{
		Provider: string(token.Microsoft), Authority: c.Authority, Directory: c.Directory, Client: c.ClientID, User: c.User,
		AppOnly: c.Grant == token.ClientCredentials,
	}
	host := wire.Host(c.Authority)
	if !wire.Allowed(host, hosts) && !wire.Allowed(host, g.options.Extra()) {
		return keeper.Minted{}, wire.NotAllowed(about)
	}
	send := g.sender(c, refresh)
	if send == nil {
		return keeper.Minted{}, wire.NotServed(c.Grant)
	}
	if f := checkFederated(c); f != nil {
		return keeper.Minted{}, f
	}
	ctx, x := wire.Record(ctx, g.reachable(host, c))
	err := send(ctx, c, strings.Fields(string(a)))
	if err != nil && c.Grant == token.Password && c.Public() {
		if f := beforeTheToken(x.Last(), host, about); f != nil {
			return keeper.Minted{}, f
		}
	}
	answer, err := x.Result(g.options.Table(), about, err)
	err = retryOutdated(c, err)
	m := keeper.Minted{Token: answer.Token}
	if c.Rotates() {
		m.Refresh = answer.Refresh // other grants get refresh tokens too, and need none
	}
	return m, err
}

// sender is what makes the request of a grant, or nil.
func (g *Grant) sender(c token.Credential, refresh secret.String) func(context.Context, token.Credential, []string) error {
	switch {
	case c.Grant == token.ClientCredentials:
		return g.appOnly
	case c.Grant == token.Password && c.Public():
		return g.publicPassword
	case c.Grant == token.Password:
		return g.confidentialPassword
	case c.Grant == token.RefreshToken:
		return func(ctx context.Context, c token.Credential, scopes []string) error {
			return g.refresh(ctx, c, refresh, scopes)
		}
	}
	return nil
}

// reachable are the hosts that a request may go to: the authority; for instance discovery the other names of Microsoft's
// clouds; and for a password the federation servers that the configuration allows. Neither what Microsoft says about a
// user's realm nor what a federation server says about itself adds to them.
func (g *Grant) reachable(host string, c token.Credential) func(string) bool {
	own := wire.Allowed(host, hosts)
	federated := c.Grant == token.Password && c.Public()
	return func(h string) bool {
		return h == host || own && wire.Allowed(h, hosts) || federated && wire.Allowed(h, g.options.Extra())
	}
}
