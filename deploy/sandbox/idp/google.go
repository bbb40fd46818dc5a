package idp

import (
	"net/http"
	"strings"
	"time"
)

// googleError is a refusal of Google's token endpoint; real ones carry nothing else.
type googleError struct {
	Error       string `json:"error"`
	Description string `json:"error_description,omitempty"`
}

func (s *Server) googleRefuse(status int, code, text string) reply {
	s.counter.refused(0)
	return jsonReply(status, googleError{code, text})
}

func (s *Server) googleToken(r *http.Request) reply {
	if r.Method != http.MethodPost {
		return s.googleRefuse(http.StatusMethodNotAllowed, "invalid_request", "Only POST is supported.")
	}
	kind := r.PostForm.Get("grant_type")
	switch kind {
	case "":
		return s.googleRefuse(http.StatusBadRequest, "unsupported_grant_type", "Invalid grant_type: ")
	case jwtGrant:
		return s.googleAssertion(r)
	case "refresh_token":
	default:
		return s.googleRefuse(http.StatusBadRequest, "unsupported_grant_type", "Invalid grant_type: "+kind)
	}
	client, rep := s.googleClient(r)
	if rep != nil {
		return *rep
	}
	return s.googleRefresh(r, client)
}

func (s *Server) googleClient(r *http.Request) (GoogleClient, *reply) {
	id, secret := r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	if bid, bsecret, ok := basic(r); ok {
		id, secret = bid, bsecret
	}
	no := func(status int, code, text string) (GoogleClient, *reply) {
		rep := s.googleRefuse(status, code, text)
		return GoogleClient{}, &rep
	}
	client, ok := s.dir.googleClient(id)
	switch {
	case id == "":
		return no(http.StatusBadRequest, "invalid_request", "Could not determine client ID from request.")
	case !ok:
		return no(http.StatusUnauthorized, "invalid_client", "The OAuth client was not found.")
	case client.Disabled:
		return no(http.StatusUnauthorized, "disabled_client", "The OAuth client was disabled.")
	case secret == "":
		return no(http.StatusBadRequest, "invalid_request", "client_secret is missing.")
	case !same(client.Secret, secret):
		return no(http.StatusUnauthorized, "invalid_client", "Unauthorized")
	}
	return client, nil
}

func (s *Server) googleRefresh(r *http.Request, client GoogleClient) reply {
	token := r.PostForm.Get("refresh_token")
	if token == "" {
		return s.googleRefuse(http.StatusBadRequest, "invalid_request", "Missing required parameter: refresh_token")
	}
	g, err := s.grantOf(token)
	if err != nil || g.Tenant != GoogleTenant {
		return s.googleRefuse(http.StatusBadRequest, "invalid_grant", "Bad Request")
	}
	if g.Client != client.ID {
		return s.googleRefuse(http.StatusUnauthorized, "unauthorized_client", "Unauthorized")
	}
	if _, known := s.dir.GoogleUser(g.User); !known || g.Expired || g.Revoked ||
		s.issuer.state.revoked(token, g.Tenant, g.User, g.Issued) {
		return s.googleRefuse(http.StatusBadRequest, "invalid_grant", "Token has been expired or revoked.")
	}
	return s.googleAccess(Claims{Client: client.ID, User: g.User, Scopes: g.Scopes})
}

// googleAccess answers with an access token. No refresh token comes with it: the old one stays the one.
func (s *Server) googleAccess(c Claims) reply {
	c.Tenant = GoogleTenant
	access, c, err := s.issuer.Access(c)
	if err != nil {
		s.config.Log.Error("token request failed", "error", err)
		return s.googleRefuse(http.StatusInternalServerError, "internal_failure", "")
	}
	return jsonReply(http.StatusOK, map[string]any{
		"access_token": access, "expires_in": int(s.issuer.life / time.Second), "scope": strings.Join(c.Scopes, " "),
		"token_type": "Bearer",
	})
}

func (s *Server) googleMetadata(*http.Request) reply {
	base := s.config.Base + "/google"
	return jsonReply(http.StatusOK, map[string]any{
		"issuer": base, "token_endpoint": base + "/token", "revocation_endpoint": base + "/revoke",
		"grant_types_supported": []string{"refresh_token", jwtGrant},
	})
}

func (s *Server) googleTokenInfo(r *http.Request) reply {
	c, err := s.issuer.Verify(r.Form.Get("access_token"))
	if err != nil || c.Tenant != GoogleTenant {
		return jsonReply(http.StatusBadRequest, googleError{"invalid_token", "Invalid Value"})
	}
	left := int(time.Until(c.Expires) / time.Second)
	return jsonReply(http.StatusOK, map[string]any{
		"azp": c.Client, "aud": c.Client, "scope": strings.Join(c.Scopes, " "), "exp": c.Expires.Unix(),
		"expires_in": left, "email": c.User, "email_verified": "true", "access_type": "offline",
	})
}

func (s *Server) googleRevoke(r *http.Request) reply {
	token := r.Form.Get("token")
	_, accessErr := s.issuer.Verify(token)
	_, refreshErr := s.grantOf(token)
	if accessErr != nil && refreshErr != nil {
		return jsonReply(http.StatusBadRequest, googleError{"invalid_token", "Token expired or revoked"})
	}
	if err := s.issuer.RevokeToken(token); err != nil {
		s.config.Log.Error("revoke failed", "error", err)
		return jsonReply(http.StatusInternalServerError, googleError{"internal_failure", ""})
	}
	return jsonReply(http.StatusOK, struct{}{})
}
