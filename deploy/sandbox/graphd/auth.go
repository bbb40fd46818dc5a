package graphd

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"mailporter/sandbox/fault"
	"mailporter/sandbox/idp"
)

// permission is what an operation needs: any of the names, as an application's role or a user's scope.
type permission []string

var (
	readScope  = permission{"Mail.Read", "Mail.ReadWrite"}
	writeScope = permission{"Mail.ReadWrite"}
	sendScope  = permission{"Mail.Send"}
)

func (p permission) held(c idp.Claims) bool {
	for _, name := range p {
		if c.Permits(name, name) || c.Permits(name, name+".Shared") {
			return true
		}
	}
	return false
}

// readPrefer reads the Prefer headers: RFC 7240 lets them stand in one or in many.
func (c *call) readPrefer() {
	for _, p := range strings.Split(strings.Join(c.Header.Values("Prefer"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		switch strings.ToLower(name) {
		case "idtype":
			c.immutable = strings.Trim(value, `"`) == "ImmutableId"
		case "odata.maxpagesize":
			c.pageSize, _ = strconv.Atoi(value)
		}
	}
}

// admit says who asks, and nil if he may.
func (s *Server) admit(c *call, need permission) (idp.Claims, *fault.Answer) {
	token, found := strings.CutPrefix(c.Header.Get("Authorization"), "Bearer ")
	if !found {
		return idp.Claims{}, refused("Access token is empty.")
	}
	claims, err := s.config.Issuer.Verify(token)
	c.mailbox = strings.ToLower(c.PathValue("user"))
	if c.mailbox == "" { // /me
		c.mailbox = strings.ToLower(claims.User)
	}
	switch {
	case errors.Is(err, idp.ErrExpired):
		return claims, refused("Lifetime validation failed, the token is expired.")
	case errors.Is(err, idp.ErrRevoked):
		return claims, challenged()
	case err != nil:
		return claims, refused("CompactToken parsing failed with error code: 80049217")
	case claims.Audience != idp.Graph:
		return claims, refused("Access token validation failure. Invalid audience.")
	case c.mailbox == "":
		return claims, answer(fail(http.StatusBadRequest, "BadRequest", "/me request is only valid with delegated authentication flow."))
	case !s.config.Store.Exists(c.mailbox):
		return claims, answer(fail(http.StatusNotFound, "ErrorInvalidUser", fmt.Sprintf("The requested user '%s' is invalid.", c.mailbox)))
	case !need.held(claims) || !s.config.Directory.MayOpen(claims, c.mailbox):
		return claims, answer(fail(http.StatusForbidden, "ErrorAccessDenied", "Access is denied. Check credentials and try again."))
	}
	return claims, nil
}

func answer(a fault.Answer) *fault.Answer { return &a }

// refused is a token that is no good.
func refused(message string) *fault.Answer {
	a := fail(http.StatusUnauthorized, "InvalidAuthenticationToken", message)
	a.Header.Set("WWW-Authenticate", `Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize"`)
	return &a
}

// challenged is a token that was revoked: continuous access evaluation asks for one with these claims.
func challenged() *fault.Answer {
	a := refused("Continuous access evaluation resulted in challenge with result: InteractionRequired and code: TokenIssuedBeforeRevocationTimestamp")
	claims := base64.StdEncoding.EncodeToString([]byte(`{"access_token":{"nbf":{"essential":true,"value":"1767605400"}}}`))
	a.Header.Set("WWW-Authenticate", `Bearer realm="", error="insufficient_claims", claims="`+claims+`"`)
	return a
}

// link is an absolute URL below the mailbox with a query that clients must take as it is.
func (s *Server) link(c *call, path string, query url.Values) string {
	return "https://" + c.Host + "/v1.0/users/" + url.PathEscape(c.mailbox) + "/" + path + "?" + query.Encode()
}
