package directory

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"mailporter/broker/internal/token"
	"mailporter/kit/config"
	"mailporter/kit/secret"
)

// credentialOptions are read for sections that use OAuth.
type credentialOptions struct {
	authority authority
	directory string
	clientID  string
	grant     token.Kind
}

// readCredential finds out which grant the options mean and reads its secrets.
func (l *loader) readCredential(m *config.Map, s *Section) {
	o := l.credentialOptions(m, s.Protocol)
	s.Grant, s.Audience = o.grant, l.audience(m, s.Protocol, o)
	// A service account's key opens a whole domain as well, but none of its tokens opens more than one mailbox.
	c := token.Credential{Provider: o.authority.provider, Grant: o.grant, Authority: o.authority.url, Directory: o.directory,
		ClientID: o.clientID, TenantWide: o.grant == token.ClientCredentials}
	if c.Grant == token.ServiceAccount {
		l.readServiceAccount(m, s, &c)
	} else {
		l.readSecrets(m, s, &c)
	}
	c.Ends = l.endsOf(c)
	s.Credential = l.intern(c)
	checkMargin(m, s)
}

func (l *loader) credentialOptions(m *config.Map, p Protocol) credentialOptions {
	o := credentialOptions{authority: l.authority(m)}
	if o.authority.provider == token.Google {
		o.grant = googleGrant(m)
	}
	if o.grant != token.ServiceAccount { // its key says who it is
		o.clientID = m.Require("client-id", "write the application's id as registered at the provider")
	}
	if o.authority.provider == token.Google {
		if p == EWS || p == Graph {
			m.Complain("tenant-authority", fmt.Sprintf("Google does not speak %s", p), "use IMAP, POP3 or SMTP, or Microsoft's authority")
		}
		return o
	}
	o.directory = m.Require("directory-id", "write the directory (tenant) id")
	if strings.ContainsAny(o.directory, "/?#%\\ ") {
		m.Complain("directory-id", fmt.Sprintf("%q is no directory id", o.directory), "write the GUID or a verified domain of the tenant")
	}
	if m.Has(serviceKey) {
		m.Complain(serviceKey, "is Google's and not taken by Microsoft", "use secrets, a certificate or a federated token, or tenant-authority: google")
	}
	o.grant = microsoftGrant(m, p)
	return o
}

// googleGrant is service_account where there is the key of one, else refresh_token.
func googleGrant(m *config.Map) token.Kind {
	def := token.RefreshToken
	if m.Has(serviceKey) {
		def = token.ServiceAccount
	}
	g := token.Kind(m.OneOf("grant-type", string(def), string(token.Password), string(token.ClientCredentials), string(token.RefreshToken), string(token.ServiceAccount)))
	switch {
	case g != token.RefreshToken && g != token.ServiceAccount:
		m.Complain("grant-type", string(g)+" is not offered by Google for mail", "use refresh_token or service_account, or leave it out")
		return def
	case g == token.RefreshToken && m.Has(serviceKey):
		m.Complain(serviceKey, "does not go with grant-type refresh_token", "keep one of them")
	}
	return g
}

// microsoftGrant: what is asked for, else client_credentials for GRAPH and the mailbox's password for the others.
func microsoftGrant(m *config.Map, p Protocol) token.Kind {
	def := token.Password
	if p == Graph {
		def = token.ClientCredentials
	}
	g := m.OneOf("grant-type", string(def), string(token.Password), string(token.ClientCredentials), string(token.RefreshToken))
	return token.Kind(g)
}

func (l *loader) authority(m *config.Map) authority {
	s := m.Text("tenant-authority", defaultAuthority(m))
	a, err := parseAuthority(s, l.settings.Authorities)
	if err != nil {
		m.Complain("tenant-authority", err.Error(), "use "+microsoftDefault+", google, or name the host under allowed-authorities")
		a, _ = parseAuthority(microsoftDefault, nil)
	}
	return a
}

// defaultAuthority: only Google has service accounts.
func defaultAuthority(m *config.Map) string {
	if m.Has(serviceKey) {
		return "google"
	}
	return microsoftDefault
}

// audience is the scope to ask for: the configured one (several: a list, blanks or commas), else the default of the
// provider, cloud and protocol.
func (l *loader) audience(m *config.Map, p Protocol, o credentialOptions) token.Audience {
	words := strings.FieldsFunc(strings.Join(m.Texts("scope"), " "), func(r rune) bool { return r == ' ' || r == ',' })
	if len(words) > 0 {
		return token.Audience(strings.Join(words, " "))
	}
	switch {
	case o.authority.provider == token.Google:
		return googleScope
	case p == Graph:
		return l.audienceOf("https://" + o.authority.cloud.graph)
	case o.authority.cloud.mail == "":
		m.Complain("scope", "has no default for this cloud", "write the mail resource of the cloud with /.default")
	}
	return l.audienceOf(o.authority.cloud.mail)
}

// audienceOf is the audience of a resource: one text for all sections, which the way to a token finds in the processor's
// cache.
func (l *loader) audienceOf(resource string) token.Audience {
	a, ok := l.audiences[resource]
	if !ok {
		a = token.Audience(resource + "/.default")
		l.audiences[resource] = a
	}
	return a
}

// readSecrets gives `password` the meaning that the grant has for it.
func (l *loader) readSecrets(m *config.Map, s *Section, c *token.Credential) {
	password := l.secret(m, "password")
	c.Secrets = l.secrets(m, "secrets")
	l.readProofs(m, c)
	if named := l.namedSecret(m); !named.Empty() {
		c.Secrets = append(c.Secrets, named)
	}
	switch c.Grant {
	case token.ClientCredentials:
		if !password.Empty() && len(c.Certificates) == 0 && c.FederatedFile == "" {
			c.Secrets = append([]secret.String{password}, c.Secrets...)
		}
		if c.Public() && !proves(m) {
			l.missing(m, "secrets", "the grant client_credentials needs the application's secret", "write secrets: [{file: PATH}] at the application")
		}
	case token.Password:
		c.User, c.Password = s.Endpoint.User, password
		if password.Empty() {
			l.missing(m, "password", "the grant password needs the mailbox's password", "write password: {file: PATH}, or grant-type: client_credentials")
		}
	case token.RefreshToken:
		c.User, c.Refresh = s.Endpoint.User, password
		if password.Empty() {
			l.missing(m, "password", "the grant refresh_token needs the refresh token here", "write password: {file: PATH of the refresh token}")
		}
	}
}

// endsOf are when the secrets of a credential end, as far as their references tell.
func (l *loader) endsOf(c token.Credential) (all []token.End) {
	for _, s := range c.Secrets {
		if at, told := l.ends[s.Fingerprint()]; told {
			all = append(all, token.End{What: "client secret", At: at, Proof: s.Fingerprint()})
		}
	}
	for what, s := range map[string]secret.String{"password": c.Password, "refresh token": c.Refresh} {
		if at, told := l.ends[s.Fingerprint()]; told && !s.Empty() {
			all = append(all, token.End{What: what, At: at})
		}
	}
	return all
}

// namedSecret is Google's way: `secret` names a top-level section secret-<name> whose password is the client secret.
func (l *loader) namedSecret(m *config.Map) secret.String {
	name := m.Text("secret", "")
	if name == "" {
		return secret.String{}
	}
	section, ok := l.named["secret-"+name]
	if !ok {
		m.Complain("secret", fmt.Sprintf("there is no section secret-%s", name), fmt.Sprintf("add at the top level of a mailbox file: secret-%s: {password: {file: PATH}}", name))
		return secret.String{}
	}
	return l.secret(section, "password")
}

// intern completes the names of a credential and makes those that are equal one.
func (l *loader) intern(c token.Credential) *token.Credential {
	c.ID = digest(string(c.Provider), string(c.Grant), c.Authority, c.Directory, c.ClientID, c.User)
	secrets := []string{c.ID, c.Password.Reveal(), c.Refresh.Reveal()}
	if !c.Robot.Key.Empty() {
		secrets = append(secrets, c.Robot.KeyID, c.Robot.Key.Reveal())
	}
	for _, s := range c.Secrets {
		secrets = append(secrets, s.Reveal())
	}
	for _, cert := range c.Certificates {
		sum := cert.Fingerprint()
		secrets = append(secrets, string(sum[:]))
	}
	if c.FederatedFile != "" { // its name, not its content: tokens are replaced every hour, the credential is not
		secrets = append(secrets, c.FederatedFile)
	}
	if c.Grant == token.Password && c.Public() { // a federation server that is allowed now is worth another try
		secrets = append(secrets, l.settings.Authorities...)
	}
	c.Version = digest(secrets...)
	c.Label = label(c)
	key := c.ID + c.Version
	if known, ok := l.credentials[key]; ok {
		return known
	}
	l.credentials[key] = &c
	return &c
}

func label(c token.Credential) string {
	l := c.ClientID
	if c.Directory != "" {
		l += " @ " + c.Directory
	}
	if c.User != "" {
		l += " for " + c.User
	}
	return l
}

// digest is a short name for a list of texts: each is counted with its length, so that no two lists run together.
func digest(parts ...string) string {
	var b []byte
	for _, p := range parts {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(p))), p...)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:16])
}

// googleLife is what Google's access tokens live.
const googleLife = 3599 * time.Second

// checkMargin warns about margins that leave little of a token, and refuses one that leaves nothing.
func checkMargin(m *config.Map, s *Section) {
	const key = "token-expiry-margin-time"
	switch {
	case s.Credential.Provider == token.Google && s.Margin >= googleLife:
		m.Complain(key, "no token of Google lives longer than this", `write less, for example "00:05:00"`)
	case s.Margin > 55*time.Minute:
		m.Warn(key, "leaves less than five minutes of tokens that live an hour", `write less, for example "00:05:00"`)
	}
}
