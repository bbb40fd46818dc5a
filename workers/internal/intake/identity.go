package intake

import (
	"crypto/tls"
	"crypto/x509"
	"slices"
	"strings"
)

// A Clients list says which client certificates may hand in mail, and as whom. nil: all that the door's client-ca vouches for.
type Clients []Submitter

// Admit is the submitter who showed a certificate in the handshake; false if none was verified, or it is not on the list.
func (c Clients) Admit(state tls.ConnectionState) (Submitter, bool) {
	if len(state.VerifiedChains) == 0 {
		return Submitter{}, false
	}
	identity := Identity(state.VerifiedChains[0][0])
	if c == nil {
		return Submitter{Name: identity}, true
	}
	i := slices.IndexFunc(c, func(s Submitter) bool { return s.Name == identity && identity != "" })
	if i < 0 {
		return Submitter{Name: identity}, false
	}
	return c[i], true
}

// Identity is the SPIFFE id of a certificate, else its first DNS name, else its common name: as the broker names its callers.
// A name that looks like a URI is none, because whoever may choose a common name must not become somebody that a URI vouches
// for; nor is one with blanks.
func Identity(cert *x509.Certificate) string {
	for _, u := range cert.URIs {
		if strings.EqualFold(u.Scheme, "spiffe") {
			return u.String()
		}
	}
	name := cert.Subject.CommonName
	if len(cert.DNSNames) > 0 {
		name = cert.DNSNames[0]
	}
	if strings.ContainsAny(name, ": /") || strings.ContainsFunc(name, control) {
		return ""
	}
	return name
}
