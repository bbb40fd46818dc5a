package directory

import (
	"fmt"
	"net/url"
	"os"
	"strings"

	"mailporter/kit/config"
)

// Kubernetes says by which service-account tokens callers may prove themselves. Zero: by none, so that every caller must show
// a certificate.
type Kubernetes struct {
	Issuer    string // `iss` of the tokens, letter for letter
	Audience  string // must be among their `aud`
	Keys      string // https URL or path of the issuer's JWKS
	CA        string // path of PEM with what the URL's certificate must descend from; empty = the system's
	TokenFile string // path of the bearer token to ask the URL with; empty = none
}

const audienceDefault = "mailporter-broker"

// readKubernetes reads `kubernetes:`. The keys of an API server stand below its issuer.
func readKubernetes(m *config.Map) Kubernetes {
	if !m.Present() {
		return Kubernetes{}
	}
	defer m.Done()
	k := Kubernetes{
		Issuer:    m.Require("issuer", "kubectl get --raw /.well-known/openid-configuration shows it"),
		Audience:  m.Text("audience", audienceDefault),
		CA:        m.Path("ca", ""),
		TokenFile: m.Path("token-file", ""),
	}
	if k.Issuer != "" && !isHTTPS(k.Issuer) {
		m.Complain("issuer", fmt.Sprintf("%q is not https://...", k.Issuer), "write the iss of the tokens, letter for letter")
	}
	if k.Audience == "" {
		m.Complain("audience", "is empty", "write for example "+audienceDefault)
	}
	k.Keys = readKeys(m, k)
	return k
}

// readKeys reads where the JWKS is: a URL, a file, or the issuer's usual place.
func readKeys(m *config.Map, k Kubernetes) string {
	keys := m.Text("jwks", strings.TrimSuffix(k.Issuer, "/")+"/openid/v1/jwks")
	if strings.Contains(keys, "://") {
		if m.Has("jwks") && !isHTTPS(keys) {
			m.Complain("jwks", fmt.Sprintf("%q is not https://...", keys), "write the https URL of the keys, or the path of a file with them")
		}
		return keys
	}
	for option, value := range map[string]string{"ca": k.CA, "token-file": k.TokenFile} {
		if value != "" && m.Has("jwks") {
			m.Complain(option, "has no effect: jwks is a file", "remove it")
		}
	}
	keys = m.Path("jwks", "")
	if _, err := os.Stat(keys); err != nil && m.Has("jwks") {
		m.Complain("jwks", err.Error(), "kubectl get --raw /openid/v1/jwks writes one")
	}
	return keys
}

func isHTTPS(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == ""
}
