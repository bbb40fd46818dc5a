package wire

import (
	"crypto/x509"

	"mailporter/kit/tokenclient"
)

var protections = map[tokenclient.Security]Security{
	tokenclient.TLS: TLS, tokenclient.StartTLS: StartTLS, tokenclient.PlainText: Plain,
}

// Protects says whether a connection can be protected in this way.
func Protects(s tokenclient.Security) bool {
	_, ok := protections[s]
	return ok
}

// To is how the server of a mailbox is reached; its protection is one that Protects knows.
func To(e tokenclient.Endpoint, roots *x509.CertPool, trace Trace) Options {
	return Options{
		Host: e.Server, Port: e.Port, Security: protections[e.Security], Roots: roots, Proxy: e.Proxy,
		ConnectTimeout: e.ConnectTimeout, Trace: trace,
	}
}
