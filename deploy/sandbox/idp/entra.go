package idp

import (
	"errors"
	"net/http"
	"slices"
	"strings"
)

// request is a token request that has come some way through the checks.
type request struct {
	*http.Request
	tenant Tenant
	app    App
	// resource and scopes are what is asked for: scopes without the resource, ".default" for all that was consented to.
	resource string
	scopes   []string
	// openid, offline and profile are asked for beside a resource.
	openid, offline bool
}

func (r *request) get(name string) string { return r.PostForm.Get(name) }

// require returns AADSTS900144 for the first parameter that is missing.
func (r *request) require(names ...string) error {
	for _, name := range names {
		if r.get(name) == "" {
			return refuse(900144, name)
		}
	}
	return nil
}

func (s *Server) entraToken(hr *http.Request) reply {
	r := &request{Request: hr}
	answer, err := s.grant(r)
	if err == nil {
		return jsonReply(http.StatusOK, answer)
	}
	var refused *aadsts
	if !errors.As(err, &refused) {
		s.config.Log.Error("token request failed", "error", err)
		refused = refuse(90033)
	}
	s.counter.refused(refused.code)
	return refused.reply(s.config.Base, hr.Header.Get("client-request-id"))
}

// grant checks a request in the order of the real endpoint: tenant, grant, application, credential, then what is asked.
func (s *Server) grant(r *request) (*tokenBody, error) {
	if r.Method != http.MethodPost {
		return nil, refuse(900561, r.Method)
	}
	if err := r.require("grant_type"); err != nil {
		return nil, err
	}
	kind := r.get("grant_type")
	if !slices.Contains([]string{"client_credentials", "password", "refresh_token", saml1Grant, saml2Grant}, kind) {
		return nil, refuse(70003, kind)
	}
	if err := s.findTenant(r, kind); err != nil {
		return nil, err
	}
	if err := s.authenticate(r); err != nil {
		return nil, err
	}
	key := strings.Join([]string{r.app.ClientID, kind, r.get("username"), r.get("scope"), r.get("refresh_token")}, "\x00")
	if s.counter.looping(key, s.config.LoopLimit) {
		return nil, refuse(50196)
	}
	switch kind {
	case "client_credentials":
		return s.clientCredentials(r)
	case "password":
		return s.password(r)
	case saml1Grant, saml2Grant:
		return s.samlGrant(r, kind == saml2Grant)
	default:
		return s.refreshToken(r)
	}
}

// findTenant resolves the tenant in the path; at the shared endpoints it is that of the user.
func (s *Server) findTenant(r *request, kind string) error {
	name := lower(r.PathValue("tenant"))
	switch {
	case (name == "common" || name == "consumers") && kind != "refresh_token":
		return refuse(9001023)
	case name == "organizations" && kind == "client_credentials":
		return refuse(50059)
	case name == "common" || name == "organizations":
		name = s.homeTenant(r)
		if name == "" {
			return refuse(50059)
		}
	case !plausibleTenant(name):
		return refuse(900023, name)
	}
	var ok bool
	if r.tenant, ok = s.dir.tenant(name); !ok {
		return refuse(90002, name)
	}
	return nil
}

func (s *Server) homeTenant(r *request) string {
	if g, err := s.grantOf(r.get("refresh_token")); err == nil && g.Tenant != GoogleTenant {
		return g.Tenant
	}
	return s.dir.TenantOf(r.get("username"))
}

// plausibleTenant takes GUIDs and domain names.
func plausibleTenant(name string) bool {
	ok := func(c rune) bool { return c == '-' || c == '.' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') }
	return (strings.Contains(name, ".") || len(name) == len("00000000-0000-0000-0000-000000000000")) &&
		!strings.ContainsFunc(name, func(c rune) bool { return !ok(c) })
}

// authenticate finds the application and checks its credential.
func (s *Server) authenticate(r *request) error {
	id, secret := r.get("client_id"), r.get("client_secret")
	if bid, bsecret, ok := basic(r.Request); ok {
		id, secret = bid, bsecret
	}
	if id == "" {
		return refuse(900144, "client_id")
	}
	var ok bool
	if r.app, ok = r.tenant.app(id); !ok {
		return refuse(700016, id, r.tenant.ID)
	}
	if r.app.Disabled {
		return refuse(7000112, id, r.app.Name)
	}
	asserted := r.get("client_assertion") != ""
	switch {
	case r.app.PublicClient && (secret != "" || asserted):
		return refuse(700025)
	case r.app.PublicClient && r.get("grant_type") != "client_credentials":
		return nil
	case asserted && secret != "":
		return refuse(50027)
	case asserted:
		return s.checkAssertion(r)
	case secret == "":
		return refuse(7000218)
	}
	return r.app.checkSecret(secret)
}

func (a *App) checkSecret(value string) error {
	i := slices.IndexFunc(a.Secrets, func(s Secret) bool { return same(s.Value, value) })
	if i < 0 {
		return refuse(7000215, a.ClientID)
	}
	if a.Secrets[i].Expired {
		return refuse(7000222, a.ClientID)
	}
	return nil
}

func (s *Server) clientCredentials(r *request) (*tokenBody, error) {
	if err := r.parseScope(false); err != nil {
		return nil, err
	}
	// openid, offline_access and profile mean nothing here; MSAL sends them all the same.
	if len(r.scopes) != 1 || r.scopes[0] != ".default" {
		return nil, refuse(70011, r.get("scope"))
	}
	// Entra issues the token even if there is no permission in it: the mail server refuses it later.
	claims := Claims{
		Tenant: r.tenant.ID, Client: r.app.ClientID, Audience: r.resource, Roles: permissionsOf(r.resource, r.app.Roles),
	}
	return s.body(r, claims, grant{})
}

func (s *Server) password(r *request) (*tokenBody, error) {
	if err := r.require("username", "password"); err != nil {
		return nil, err
	}
	if err := r.parseScope(false); err != nil {
		return nil, err
	}
	u, ok := r.tenant.user(r.get("username"))
	if !ok {
		return nil, refuse(50034, r.get("username"), r.tenant.ID)
	}
	if _, elsewhere := r.tenant.federated(u.Address); elsewhere {
		return nil, refuse(50126) // Entra does not know the password, as long as its hash is not synchronised
	}
	if err := s.signIn(u, r.get("password"), r.resource); err != nil {
		return nil, err
	}
	return s.delegated(r, grant{Tenant: r.tenant.ID, Client: r.app.ClientID, User: u.Address})
}

// signIn checks in Entra's order: a locked account is told so even with the right password, MFA only with it.
func (s *Server) signIn(u User, password, resource string) error {
	switch {
	case u.Locked:
		return refuse(50053)
	case u.Password == "":
		return refuse(50056)
	case s.dir.missed(u.Address, same(u.Password, password)):
		return refuse(50053)
	case !same(u.Password, password):
		return refuse(50126)
	case u.Disabled:
		return refuse(50057)
	case u.PasswordExpired:
		return refuse(50055)
	case u.MFA:
		return refuse(50076, resource)
	}
	return nil
}
