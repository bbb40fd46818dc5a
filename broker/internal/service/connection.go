package service

import (
	"crypto/tls"
	"net"

	"mailporter/kit/identity"

	"google.golang.org/grpc/credentials"
	plaintext "google.golang.org/grpc/credentials/insecure"
)

// connection is what the handshake of a connection found out about its caller: once, and not at every call.
type connection struct {
	credentials.AuthInfo
	caller    caller // without an identity if no certificate proves one
	certified bool   // a good certificate was shown
}

// knowing is credentials whose handshakes end with a *connection.
type knowing struct {
	credentials.TransportCredentials
}

// knowingCredentials are those of a server; without conf its connections are in plain text.
func knowingCredentials(conf *tls.Config) credentials.TransportCredentials {
	if conf == nil {
		return knowing{plaintext.NewCredentials()}
	}
	return knowing{credentials.NewTLS(conf)}
}

// ServerHandshake implements credentials.TransportCredentials. grpc calls it once for each connection.
func (k knowing) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := k.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		return nil, nil, err
	}
	from := raw.RemoteAddr()
	c := &connection{AuthInfo: info, caller: caller{address: from.String(), local: isLoopback(from)}}
	switch info := info.(type) {
	case credentials.TLSInfo:
		if c.certified = len(info.State.VerifiedChains) > 0; c.certified {
			c.caller.identity = identity.Of(info.State.VerifiedChains[0][0])
		}
	default:
		c.caller.identity = insecure
	}
	return conn, c, nil
}

// Clone implements credentials.TransportCredentials.
func (k knowing) Clone() credentials.TransportCredentials {
	return knowing{k.TransportCredentials.Clone()}
}
