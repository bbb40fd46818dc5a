package idp

import (
	"slices"
	"strings"
	"time"
)

func (s *Server) refreshToken(r *request) (*tokenBody, error) {
	if err := r.require("refresh_token"); err != nil {
		return nil, err
	}
	token := r.get("refresh_token")
	g, err := s.grantOf(token)
	if err != nil || lower(g.Tenant) != lower(r.tenant.ID) || lower(g.Client) != lower(r.app.ClientID) {
		return nil, refuse(70000)
	}
	if err := s.checkGrant(r, g, token); err != nil {
		return nil, err
	}
	if r.get("scope") == "" && len(g.Scopes) > 0 {
		r.PostForm.Set("scope", strings.Join(g.Scopes, " "))
	}
	if err := r.parseScope(true); err != nil {
		return nil, err
	}
	r.offline = true // whoever comes with a refresh token gets the next one
	return s.delegated(r, g)
}

// checkGrant refuses refresh tokens that were good once.
func (s *Server) checkGrant(r *request, g grant, token string) error {
	const layout = "2006-01-02T15:04:05.0000000Z"
	issued := g.Issued.UTC().Format(layout)
	if g.Expired || (s.config.RefreshLife > 0 && time.Since(g.Issued) > s.config.RefreshLife) {
		return refuse(700082, issued, s.config.RefreshLife)
	}
	if g.Revoked || s.issuer.state.revoked(token, g.Tenant, g.User, g.Issued) || s.issuer.state.chainRevoked(g.Chain) {
		return refuse(50173, issued, time.Now().UTC().Format(layout))
	}
	if u, ok := r.tenant.user(g.User); !ok {
		return refuse(50034, g.User, r.tenant.ID)
	} else if u.Disabled {
		return refuse(50057)
	}
	if !s.config.SingleUse {
		return nil
	}
	return s.useOnce(g, issued)
}

// useOnce takes a second use for theft and voids the whole family (RFC 9700 section 4.14.2).
func (s *Server) useOnce(g grant, issued string) error {
	again, err := s.issuer.state.use(g.ID)
	if err != nil {
		return err
	}
	if !again {
		return nil
	}
	if err := s.issuer.state.change(func() { s.issuer.state.Chains[g.Chain] = time.Now() }); err != nil {
		return err
	}
	return refuse(50173, issued, time.Now().UTC().Format(time.RFC3339))
}

// delegated answers with a token for a user, limited to what was consented to.
func (s *Server) delegated(r *request, g grant) (*tokenBody, error) {
	consented := permissionsOf(r.resource, r.app.Scopes)
	asked := r.scopes
	if slices.Contains(asked, ".default") {
		asked = consented
	}
	for _, scope := range asked {
		if !slices.Contains(consented, scope) {
			return nil, refuse(65001, r.app.ClientID, r.app.Name)
		}
	}
	if len(asked) == 0 {
		return nil, refuse(65001, r.app.ClientID, r.app.Name)
	}
	claims := Claims{Tenant: r.tenant.ID, Client: r.app.ClientID, User: lower(g.User), Audience: r.resource, Scopes: asked}
	for _, scope := range asked {
		if full := r.resource + "/" + scope; !slices.Contains(g.Scopes, full) {
			g.Scopes = append(slices.Clone(g.Scopes), full)
		}
	}
	return s.body(r, claims, g)
}
