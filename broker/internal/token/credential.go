package token

import (
	"crypto/sha256"
	"time"

	"mailporter/kit/secret"
)

// Kind is how an access token is got.
type Kind string

// The grants. Basic and None mint nothing.
const (
	ClientCredentials Kind = "client_credentials"
	Password          Kind = "password"
	RefreshToken      Kind = "refresh_token"
	ServiceAccount    Kind = "service_account"
	Basic             Kind = "basic"
	None              Kind = "none"
)

// Provider is whose token endpoint it is.
type Provider string

// The providers.
const (
	Microsoft Provider = "microsoft"
	Google    Provider = "google"
)

// Credential is the thing a grant uses, with its secrets read. Mailboxes whose options come to the same credential share
// it, and its tokens.
type Credential struct {
	ID        string // stable over restarts and secret changes; names no secret: an HMAC-free hash of what follows
	Version   string // changes with every change of a secret
	Provider  Provider
	Grant     Kind
	Authority string // https://login.microsoftonline.com; Google: the token endpoint
	Directory string // tenant; Microsoft only
	ClientID  string
	Secrets   []secret.String // client secrets, the first healthy one is used; none = public client
	// Certificates sign client assertions in place of secrets; the first healthy one is used.
	Certificates []Certificate
	// FederatedFile holds an assertion of another issuer, in place of secrets. It is read at every request.
	FederatedFile string
	// Robot is the service_account grant's: whose key signs. ClientID is its address then.
	Robot    Robot
	User     string        // password and service_account grants; refresh_token: whose consent it is
	Password secret.String // password grant
	Refresh  secret.String // refresh_token grant: the configured one, older than any the store holds for this Version
	Label    string        // for people: contoso, or client id @ directory
	// Ends are when its secrets end, where the configuration tells.
	Ends []End
	// TenantWide says that its tokens open more than one mailbox.
	TenantWide bool
}

// End is when one secret of a credential ends.
type End struct {
	What  string             // client secret, password, refresh token
	At    time.Time          // then
	Proof secret.Fingerprint // of a client secret, as Credential.Proof; zero for the others
}

// Robot is what a service account of Google signs with.
type Robot struct {
	Number string        // the numeric client id that an administrator delegates to; empty = not known
	KeyID  string        // names the key at Google
	Key    secret.String // RSA private key, PEM
}

// Key names the credential's token for an audience.
func (c Credential) Key(a Audience) Key { return Key{c.ID, c.Version, a} }

// Rotates says whether minting may replace the credential itself.
func (c Credential) Rotates() bool { return c.Grant == RefreshToken }

// Public says that the application proves nothing: it is a public client.
func (c Credential) Public() bool {
	return len(c.Secrets) == 0 && len(c.Certificates) == 0 && c.FederatedFile == ""
}

// Ways are the credential once for each secret or certificate, with that one alone; at least one.
func (c Credential) Ways() []Credential {
	var out []Credential
	for i := range c.Secrets {
		way := c
		way.Secrets, way.Certificates = c.Secrets[i:i+1], nil
		out = append(out, way)
	}
	for i := range c.Certificates {
		way := c
		way.Secrets, way.Certificates = nil, c.Certificates[i:i+1]
		out = append(out, way)
	}
	if len(out) == 0 {
		out = append(out, c)
	}
	return out
}

// Proof names what the application proves itself with: the first secret or certificate, or the file of assertions; zero
// for a public client.
func (c Credential) Proof() secret.Fingerprint {
	switch {
	case len(c.Secrets) > 0:
		return c.Secrets[0].Fingerprint()
	case len(c.Certificates) > 0:
		return c.Certificates[0].Fingerprint()
	case c.FederatedFile != "":
		return sha256.Sum256([]byte(c.FederatedFile))
	}
	return secret.Fingerprint{}
}
