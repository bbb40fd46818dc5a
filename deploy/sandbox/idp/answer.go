package idp

import (
	"crypto/rsa"
	"encoding/json"
	"math/big"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// tokenBody is Entra's answer to a token request that it grants.
type tokenBody struct {
	TokenType    string `json:"token_type"`
	Scope        string `json:"scope,omitempty"`
	ExpiresIn    int    `json:"expires_in"`
	ExtExpiresIn int    `json:"ext_expires_in"`
	RefreshIn    int    `json:"refresh_in,omitempty"`
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token,omitempty"`
	IDToken      string `json:"id_token,omitempty"`
	ClientInfo   string `json:"client_info,omitempty"`
}

// body makes the answer; g is used for delegated tokens only.
func (s *Server) body(r *request, c Claims, g grant) (*tokenBody, error) {
	token, c, err := s.issuer.Access(c)
	if err != nil {
		return nil, err
	}
	life := int(s.issuer.life / time.Second)
	b := &tokenBody{
		TokenType: "Bearer", ExpiresIn: life, ExtExpiresIn: life, RefreshIn: int(s.config.RefreshIn / time.Second),
		AccessToken: token,
	}
	if c.User == "" {
		return b, nil
	}
	b.Scope = grantedScope(c)
	if r.offline {
		if b.RefreshToken, err = s.issuer.refresh(g); err != nil {
			return nil, err
		}
	}
	if r.openid {
		if b.IDToken, err = s.idToken(c); err != nil {
			return nil, err
		}
	}
	if r.get("client_info") == "1" {
		b.ClientInfo, err = clientInfo(c)
	}
	return b, err
}

func grantedScope(c Claims) string {
	out := make([]string, 0, len(c.Scopes))
	for _, p := range c.Scopes {
		out = append(out, c.Audience+"/"+p)
	}
	return strings.Join(out, " ")
}

func clientInfo(c Claims) (string, error) {
	b, err := json.Marshal(map[string]string{"uid": objectID(c.Tenant, c.User), "utid": c.Tenant})
	return b64.EncodeToString(b), err
}

func (s *Server) idToken(c Claims) (string, error) {
	return s.issuer.sign(map[string]any{
		"aud": c.Client, "iss": s.config.Base + "/" + c.Tenant + "/v2.0", "iat": c.Issued.Unix(), "nbf": c.Issued.Unix(),
		"exp": c.Expires.Unix(), "name": c.User, "preferred_username": c.User, "oid": objectID(c.Tenant, c.User),
		"sub": objectID(c.Client, c.User), "tid": c.Tenant, "ver": "2.0",
	})
}

func (s *Server) entraMetadata(r *http.Request) reply {
	name := r.PathValue("tenant")
	issuer := "{tenantid}"
	if name != "common" && name != "organizations" && name != "consumers" {
		t, ok := s.dir.tenant(name)
		if !ok {
			return refuse(90002, name).reply(s.config.Base, r.Header.Get("client-request-id"))
		}
		issuer = t.ID
	}
	base := s.config.Base + "/" + name
	return jsonReply(http.StatusOK, map[string]any{
		"token_endpoint":                        base + "/oauth2/v2.0/token",
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt", "client_secret_basic"},
		"jwks_uri":                              base + "/discovery/v2.0/keys",
		"response_modes_supported":              []string{"query", "fragment", "form_post"},
		"subject_types_supported":               []string{"pairwise"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"response_types_supported":              []string{"code"},
		"scopes_supported":                      []string{"openid", "profile", "email", "offline_access"},
		"issuer":                                s.config.Base + "/" + issuer + "/v2.0",
		"authorization_endpoint":                base + "/oauth2/v2.0/authorize",
		"device_authorization_endpoint":         base + "/oauth2/v2.0/devicecode",
		"tenant_region_scope":                   "EU",
		"cloud_instance_name":                   s.host(),
		"msgraph_host":                          "graph.microsoft.com",
	})
}

func (s *Server) entraKeys(*http.Request) reply {
	return jsonReply(http.StatusOK, map[string]any{"keys": []any{jwk(&s.issuer.keys.sign.PublicKey, s.issuer.keys.id)}})
}

// jwk writes a public key as RFC 7518 section 6.3 has it.
func jwk(k *rsa.PublicKey, id string) map[string]string {
	return map[string]string{
		"kty": "RSA", "use": "sig", "alg": "RS256", "kid": id, "x5t": id,
		"n": b64.EncodeToString(k.N.Bytes()), "e": b64.EncodeToString(big.NewInt(int64(k.E)).Bytes()),
	}
}

func (s *Server) host() string {
	u, err := url.Parse(s.config.Base)
	if err != nil {
		return ""
	}
	return u.Host
}

// instance confirms this very host as an authority, and no other.
func (s *Server) instance(r *http.Request) reply {
	endpoint := r.URL.Query().Get("authorization_endpoint")
	u, err := url.Parse(endpoint)
	if err != nil || u.Host != s.host() {
		return jsonReply(http.StatusBadRequest, errorBody{
			Error: "invalid_instance", Description: "AADSTS50049: Unknown or invalid instance.", Codes: []int{50049},
		})
	}
	base := strings.TrimSuffix(endpoint, "/oauth2/v2.0/authorize")
	return jsonReply(http.StatusOK, map[string]any{
		"tenant_discovery_endpoint": base + "/v2.0/.well-known/openid-configuration",
		"api-version":               "1.1",
		"metadata": []any{map[string]any{
			"preferred_network": s.host(), "preferred_cache": s.host(), "aliases": []string{s.host()},
		}},
	})
}

func (s *Server) userRealm(r *http.Request) reply {
	user := r.PathValue("user")
	body := map[string]string{
		"ver": "1.0", "account_type": "Unknown", "domain_name": domainOf(user), "cloud_instance_name": s.host(),
		"cloud_audience_urn": cloudAudience,
	}
	if _, ok := s.dir.federated(user); ok {
		body["account_type"], body["federation_protocol"] = "Federated", "WSTrust"
		body["federation_metadata_url"] = s.config.Federation + "/" + domainOf(user) + mexPath
		return jsonReply(http.StatusOK, body)
	}
	if s.dir.TenantOf(user) != "" {
		body["account_type"] = "Managed"
	}
	return jsonReply(http.StatusOK, body)
}
