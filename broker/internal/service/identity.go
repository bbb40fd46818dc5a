package service

import (
	"context"
	"crypto/x509"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// insecure is every caller's identity where there is no TLS.
const insecure = "insecure"

// caller is who asks, and from where.
type caller struct {
	identity string // empty: not proved
	address  string
	local    bool // from this machine
}

// callerOf looks at the verified client certificate of the connection.
func (s *Server) callerOf(ctx context.Context) caller {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return caller{}
	}
	c := caller{address: p.Addr.String(), local: isLoopback(p.Addr)}
	if s.TLS == nil {
		c.identity = insecure
		return c
	}
	if info, ok := p.AuthInfo.(credentials.TLSInfo); ok && len(info.State.VerifiedChains) > 0 {
		c.identity = identityOf(info.State.VerifiedChains[0][0])
	}
	return c
}

// identityOf is the SPIFFE id, else the first DNS name, else the common name.
func identityOf(cert *x509.Certificate) string {
	for _, u := range cert.URIs {
		if strings.EqualFold(u.Scheme, "spiffe") {
			return u.String()
		}
	}
	if len(cert.DNSNames) > 0 {
		return cert.DNSNames[0]
	}
	return cert.Subject.CommonName
}
