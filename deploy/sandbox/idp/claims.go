package idp

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// jwtClaims is the payload of an Entra access token (version 1.0, as Exchange gets them).
type jwtClaims struct {
	Aud        string   `json:"aud"`
	Iss        string   `json:"iss"`
	Iat        int64    `json:"iat"`
	Nbf        int64    `json:"nbf"`
	Exp        int64    `json:"exp"`
	Aio        string   `json:"aio"`
	AppID      string   `json:"appid"`
	AppIDAcr   string   `json:"appidacr"`
	Idp        string   `json:"idp"`
	IDType     string   `json:"idtyp"`
	Oid        string   `json:"oid"`
	Roles      []string `json:"roles,omitempty"`
	Scp        string   `json:"scp,omitempty"`
	Sub        string   `json:"sub"`
	Tid        string   `json:"tid"`
	UniqueName string   `json:"unique_name,omitempty"`
	Upn        string   `json:"upn,omitempty"`
	Uti        string   `json:"uti"`
	Ver        string   `json:"ver"`
	Deployment string   `json:"xms_sandbox"`
	// IssuedNano is iat in nanoseconds: whole seconds cannot tell a token from before a revocation from one right after.
	IssuedNano int64 `json:"xms_issued"`
}

func issuerOf(tenant string) string { return "https://sts.windows.net/" + tenant + "/" }

func entraClaims(c Claims, deployment, filler string) jwtClaims {
	j := jwtClaims{
		Aud: c.Audience, Iss: issuerOf(c.Tenant), Iat: c.Issued.Unix(), Nbf: c.Issued.Unix(), Exp: c.Expires.Unix(),
		Aio: filler, AppID: c.Client, AppIDAcr: "1", Idp: issuerOf(c.Tenant), IDType: "app", Roles: c.Roles,
		Oid: objectID(c.Tenant, c.Client), Sub: objectID(c.Tenant, c.Client), Tid: c.Tenant, Uti: c.ID, Ver: "1.0",
		Deployment: deployment, IssuedNano: c.Issued.UnixNano(),
	}
	if c.User != "" {
		j.IDType, j.AppIDAcr, j.Oid = "user", "0", objectID(c.Tenant, c.User)
		j.Sub, j.Upn, j.UniqueName, j.Scp = j.Oid, c.User, c.User, strings.Join(c.Scopes, " ")
	}
	return j
}

func parseEntraClaims(payload []byte, deployment string) (Claims, error) {
	var j jwtClaims
	if err := json.Unmarshal(payload, &j); err != nil || j.Deployment != deployment || j.Uti == "" {
		return Claims{}, ErrBadToken
	}
	return Claims{
		ID: j.Uti, Tenant: j.Tid, Client: j.AppID, User: j.Upn, Audience: j.Aud, Roles: j.Roles,
		Scopes: strings.Fields(j.Scp), Issued: time.Unix(0, j.IssuedNano), Expires: time.Unix(j.Exp, 0),
	}, nil
}

// Permits tells whether the token carries the application role (no user) or the delegated scope (a user).
func (c Claims) Permits(role, scope string) bool {
	if c.User == "" {
		return slices.Contains(c.Roles, role)
	}
	return slices.Contains(c.Scopes, scope)
}
