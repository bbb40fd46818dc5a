package wire

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"mailporter/workers/internal/fault"
)

// Within is ctx for at most d, 0 for as long as ctx, while a session comes to stand: connection, greeting, TLS and login. Its
// cause says what to do if that is too short.
func Within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	if d <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, d, &fault.Error{
		Kind: fault.Temporary, Reason: "CONNECT_TIMEOUT", Err: fmt.Errorf("no session within %s: %w", d, context.DeadlineExceeded),
		Remedy: "raise connect-timeout for a slow server; a server that says nothing may want the other connection security, ssl-tls or start-tls",
	})
}

// explain says who must do what about TLS that did not come to stand. What nobody knows stays as it is.
func explain(err error, host string) error {
	reason, remedy := handshake(err, host)
	if reason == "" {
		return err
	}
	return &fault.Error{Kind: fault.Temporary, Reason: reason, Remedy: remedy, Err: err}
}

// handshake knows the errors of crypto/tls that a person can do something about.
func handshake(err error, host string) (reason, remedy string) {
	var name x509.HostnameError
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var verification *tls.CertificateVerificationError
	switch {
	case errors.As(err, &name):
		return "CERTIFICATE_NAME", fmt.Sprintf("set server to a name that is in the certificate, or give the server one for %s", host)
	case errors.As(err, &authority):
		return "CERTIFICATE_UNTRUSTED", "add the certificate of the server's authority to trusted-ca in the worker's file; a server that leaves out intermediate certificates must send them"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "CERTIFICATE_EXPIRED", "renew the server's certificate, or correct this machine's clock"
	case errors.As(err, &verification):
		return "CERTIFICATE_REFUSED", "give the server another certificate"
	case errors.As(err, new(tls.RecordHeaderError)):
		return "NO_TLS", "the port does not begin with TLS: use start-tls, or the port that does"
	case strings.Contains(err.Error(), "protocol version"): // an alert of the server's, or its choice: both have no type
		return "TLS_TOO_OLD", "the server must offer TLS 1.2 or newer"
	}
	return "", ""
}
