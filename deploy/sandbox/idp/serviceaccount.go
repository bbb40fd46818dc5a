package idp

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// A ServiceAccount is one of Google's accounts for programs. It signs for its tokens itself (RFC 7523 section 2.1), and
// may name a user of Domains as subject: domain-wide delegation.
type ServiceAccount struct {
	Email string `yaml:"email"`
	// ClientID is the numeric id that a Workspace administrator delegates to.
	ClientID string       `yaml:"client-id"`
	Disabled bool         `yaml:"disabled"`
	Keys     []ServiceKey `yaml:"keys"`
	// Domains are those whose administrator delegated Scopes to this account.
	Domains []string `yaml:"domains"`
	Scopes  []string `yaml:"scopes"`
}

// A ServiceKey is a public key of a service account.
type ServiceKey struct {
	ID string `yaml:"id"`
	// Key is RSA: PEM, or a file of it.
	Key string `yaml:"key"`
}

// jwtGrant is RFC 7523's grant_type.
const jwtGrant = "urn:ietf:params:oauth:grant-type:jwt-bearer"

// longestAssertion is how far exp may be from iat, and clockSkew how wrong the client's clock may be.
const (
	longestAssertion = time.Hour
	clockSkew        = 5 * time.Minute
)

// serviceClaims is the payload of a service account's assertion.
type serviceClaims struct {
	jwt.RegisteredClaims
	Scope string `json:"scope"`
}

// peek reads an assertion without believing it.
func peek(assertion string) (serviceClaims, error) {
	var c serviceClaims
	_, _, err := jwt.NewParser().ParseUnverified(assertion, &c)
	return c, err
}

// googleAssertion checks in Google's order: who signed, how, for whom and when, then what is asked and in whose name.
func (s *Server) googleAssertion(r *http.Request) reply {
	bad := func(code, text string) reply { return s.googleRefuse(http.StatusBadRequest, code, text) }
	text := r.PostForm.Get("assertion")
	if text == "" {
		return bad("invalid_request", "Missing required parameter: assertion")
	}
	c, err := peek(text)
	if err != nil {
		return bad("invalid_grant", "Invalid JWT: Failed to parse.")
	}
	account, ok := s.dir.serviceAccount(c.Issuer)
	switch {
	case !ok:
		return bad("invalid_grant", "Invalid grant: account not found")
	case account.Disabled:
		return s.googleRefuse(http.StatusUnauthorized, "disabled_client", "The OAuth client was disabled.")
	case account.verify(text) != nil:
		return bad("invalid_grant", "Invalid JWT Signature.")
	case !slices.Contains(c.Audience, s.config.Base+r.URL.Path):
		return bad("invalid_grant", "Invalid JWT: Failed audience check. The audience must be the token endpoint.")
	case !shortLived(c, time.Now()):
		return bad("invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "+
			"Check your iat and exp values in the JWT claim.")
	case c.Scope == "":
		return bad("invalid_scope", "Invalid OAuth scope or ID token audience provided.")
	}
	return s.delegatedToService(account, c)
}

// delegatedToService answers an assertion that is what it says.
func (s *Server) delegatedToService(account ServiceAccount, c serviceClaims) reply {
	user, scopes := lower(c.Subject), strings.Fields(c.Scope)
	if user == "" || user == lower(account.Email) { // in its own name: a good token that opens no mailbox
		return s.googleAccess(Claims{Client: account.Email, User: lower(account.Email), Scopes: scopes})
	}
	if !account.mayActFor(user, scopes) {
		return s.googleRefuse(http.StatusUnauthorized, "unauthorized_client",
			"Client is unauthorized to retrieve access tokens using this method, or client not authorized for any of the scopes requested.")
	}
	if _, known := s.dir.GoogleUser(user); !known {
		return s.googleRefuse(http.StatusBadRequest, "invalid_grant", "Invalid email or User ID")
	}
	return s.googleAccess(Claims{Client: account.Email, User: user, Scopes: scopes})
}

func (a *ServiceAccount) mayActFor(user string, scopes []string) bool {
	return slices.ContainsFunc(a.Domains, func(d string) bool { return lower(d) == domainOf(user) }) &&
		!slices.ContainsFunc(scopes, func(s string) bool { return !slices.Contains(a.Scopes, s) })
}

// verify checks the signature alone: what the claims must say has answers of its own.
func (a *ServiceAccount) verify(text string) error {
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithoutClaimsValidation())
	_, err := parser.Parse(text, func(t *jwt.Token) (any, error) {
		i := slices.IndexFunc(a.Keys, func(k ServiceKey) bool { return k.ID == t.Header["kid"] })
		if i < 0 {
			return nil, errors.New("no such key")
		}
		return publicKey(a.Keys[i].Key)
	})
	return err
}

func shortLived(c serviceClaims, now time.Time) bool {
	if c.IssuedAt == nil || c.ExpiresAt == nil {
		return false
	}
	issued, expires := c.IssuedAt.Time, c.ExpiresAt.Time
	return !issued.After(now.Add(clockSkew)) && expires.After(now) && expires.After(issued) && expires.Sub(issued) <= longestAssertion
}

// checkKeys complains about keys that cannot be read.
func (a *ServiceAccount) checkKeys() error {
	var errs []error
	for i, k := range a.Keys {
		key, err := publicKey(k.Key)
		if _, isRSA := key.(*rsa.PublicKey); err == nil && !isRSA {
			err = errors.New("the key is not RSA")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("keys[%d] of %s: %w", i, a.Email, err))
		}
	}
	return errors.Join(errs...)
}

func (d *Directory) serviceAccount(email string) (ServiceAccount, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	i := slices.IndexFunc(d.google.ServiceAccounts, func(a ServiceAccount) bool { return a.Email != "" && lower(a.Email) == lower(email) })
	if i < 0 {
		return ServiceAccount{}, false
	}
	return d.google.ServiceAccounts[i], true
}

// UpdateServiceAccount changes a service account while the sandbox runs: a withdrawn delegation, a deleted key.
func (d *Directory) UpdateServiceAccount(email string, change func(*ServiceAccount)) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	all := slices.Clone(d.google.ServiceAccounts)
	for i := range all {
		if lower(all[i].Email) == lower(email) {
			a := &all[i]
			a.Keys, a.Domains, a.Scopes = slices.Clone(a.Keys), slices.Clone(a.Domains), slices.Clone(a.Scopes)
			change(a)
			d.google.ServiceAccounts = all
			return true
		}
	}
	return false
}
