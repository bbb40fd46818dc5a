// Package identity tells who shows a client certificate, in the same words to the broker's policy and to a worker's doors.
package identity

import (
	"crypto/x509"
	"strings"
)

// ServiceAccounts is what the identities of Kubernetes service accounts begin with: system:serviceaccount:NAMESPACE:NAME.
const ServiceAccounts = "system:serviceaccount:"

// IsName says whether a DNS name or a common name may stand for an identity: none may look like a URI or a service account,
// which somebody else vouches for.
func IsName(s string) bool {
	return s != "" && !strings.HasPrefix(s, ServiceAccounts) && !strings.Contains(s, "://")
}

// Of is the SPIFFE id of a certificate, else its first DNS name, else its common name; empty if that may be nobody's.
func Of(cert *x509.Certificate) string {
	for _, u := range cert.URIs {
		if strings.EqualFold(u.Scheme, "spiffe") {
			return u.String()
		}
	}
	name := cert.Subject.CommonName
	if len(cert.DNSNames) > 0 {
		name = cert.DNSNames[0]
	}
	if !IsName(name) {
		return ""
	}
	return name
}
