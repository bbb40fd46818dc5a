package remedy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"syscall"
)

// FromError classifies an exchange that brought no answer. Of the error only what is known to hold no secret gets into
// Detail: libraries put whole requests and answers into theirs.
func FromError(a About, err error) *Fault {
	f := &Fault{
		Class: Transient, Reason: Unavailable, Detail: detail(err),
		Remedy: "Whoever runs the broker must check its network, name service and proxy if this lasts: " + host(a) + " cannot be reached.",
	}
	var cert *tls.CertificateVerificationError
	if errors.As(err, &cert) {
		f.Reason = Untrusted
		f.Remedy = "Whoever configures the broker must name the certificate authority of " + host(a) + " (or of the proxy in between) under trusted-ca."
	}
	return f
}

// Garbled is an answer that is no answer of a token endpoint; detail must hold nothing of it.
func Garbled(status int, detail string) *Fault {
	f := &Fault{Status: status, Detail: detail}
	f.set(unreadable)
	return f
}

func host(a About) string {
	if a.Authority == "" {
		return "the identity provider"
	}
	return a.Authority
}

// Detail is what is known to hold no secret of the text of an error.
func Detail(err error) string { return detail(err) }

func detail(err error) string {
	var (
		dns  *net.DNSError
		cert *tls.CertificateVerificationError
		head tls.RecordHeaderError
		op   *net.OpError
		num  syscall.Errno
		wait net.Error
	)
	switch {
	case errors.As(err, &dns):
		return "look up " + dns.Name + ": " + dns.Err
	case errors.As(err, &cert):
		return certificateDetail(cert.Err)
	case errors.As(err, &head):
		return "the server does not speak TLS"
	case errors.Is(err, context.Canceled):
		return "given up"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &wait) && wait.Timeout():
		return "no answer in time"
	case errors.As(err, &num) && errors.As(err, &op):
		return op.Op + " " + op.Net + ": " + num.Error()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed before the answer"
	}
	return "the exchange broke"
}

func certificateDetail(err error) string {
	var (
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
	)
	switch {
	case errors.As(err, &unknown):
		return "certificate of an unknown authority"
	case errors.As(err, &name):
		return "certificate for another host than " + name.Host
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "certificate expired or not yet valid"
	}
	return "certificate is not trusted"
}
