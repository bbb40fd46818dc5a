package idp

import (
	"crypto/rand"
	"slices"
	"strings"
	"time"
)

// A grant is what a refresh token stands for.
type grant struct {
	// ID is that of this token, Chain that of all tokens that came out of one consent.
	ID      string    `json:"id"`
	Chain   string    `json:"chain"`
	Tenant  string    `json:"tenant"`
	Client  string    `json:"client"`
	User    string    `json:"user"`
	Scopes  []string  `json:"scopes"`
	Issued  time.Time `json:"issued"`
	Expired bool      `json:"expired,omitempty"`
	Revoked bool      `json:"revoked,omitempty"`
}

// Prefixes of the real refresh tokens; after Google's there is one more slash.
const (
	entraRefresh  = "1.A"
	googleRefresh = "1//0"
)

// Refresh makes a refresh token. An empty chain begins a new one.
func (i *Issuer) refresh(g grant) (string, error) {
	g.ID, g.Issued = rand.Text(), time.Now()
	if g.Chain == "" {
		g.Chain = rand.Text()
	}
	sealed, err := i.seal("refresh", g)
	if g.Tenant == GoogleTenant {
		return googleRefresh + sealed, err
	}
	return entraRefresh + sealed, err
}

// grantOf returns what a refresh token stands for, seeds included, or ErrBadToken.
func (s *Server) grantOf(token string) (grant, error) {
	i := slices.IndexFunc(s.config.Seeds, func(seed Seed) bool { return same(seed.Token, token) })
	if i >= 0 {
		seed := s.config.Seeds[i]
		return grant{
			ID: "seed " + tokenKey(seed.Token), Chain: "seed " + tokenKey(seed.Token), Tenant: seed.Tenant, Client: seed.Client,
			User: seed.User, Scopes: seed.Scopes, Issued: s.started, Expired: seed.Expired, Revoked: seed.Revoked,
		}, nil
	}
	for _, prefix := range []string{entraRefresh, googleRefresh} {
		if sealed, ok := strings.CutPrefix(token, prefix); ok {
			var g grant
			err := s.issuer.open("refresh", sealed, &g)
			return g, err
		}
	}
	return grant{}, ErrBadToken
}

// IssueRefreshToken makes a refresh token as if the user had just consented. tenant is a directory id or GoogleTenant.
func (s *Server) IssueRefreshToken(tenant, client, user string, scopes []string) (string, error) {
	return s.issuer.refresh(grant{Tenant: tenant, Client: client, User: user, Scopes: scopes})
}
