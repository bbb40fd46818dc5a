package identity_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"net/url"
	"testing"

	"mailporter/kit/identity"
)

func TestOf(t *testing.T) {
	spiffe := &url.URL{Scheme: "spiffe", Host: "mail.example", Path: "/crm"}
	other := &url.URL{Scheme: "https", Host: "mail.example"}
	for name, tc := range map[string]struct {
		cert x509.Certificate
		want string
	}{
		"SPIFFE":              {x509.Certificate{URIs: []*url.URL{other, spiffe}, DNSNames: []string{"crm"}}, "spiffe://mail.example/crm"},
		"another URI":         {x509.Certificate{URIs: []*url.URL{other}, DNSNames: []string{"crm"}}, "crm"},
		"DNS":                 {x509.Certificate{DNSNames: []string{"crm.example", "b"}, Subject: pkix.Name{CommonName: "x"}}, "crm.example"},
		"common name":         {x509.Certificate{Subject: pkix.Name{CommonName: "The CRM"}}, "The CRM"},
		"nothing":             {x509.Certificate{}, ""},
		"poses as a URI":      {x509.Certificate{Subject: pkix.Name{CommonName: "spiffe://mail.example/crm"}}, ""},
		"poses as an account": {x509.Certificate{DNSNames: []string{"system:serviceaccount:mail:crm"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := identity.Of(&tc.cert); got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
		})
	}
}
