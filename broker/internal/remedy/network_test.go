package remedy

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"syscall"
	"testing"
)

func TestFromError(t *testing.T) {
	wrap := func(err error) error {
		return fmt.Errorf("MARKER body: %w", &url.Error{Op: "Post", URL: "https://x/?MARKER", Err: err})
	}
	for name, tc := range map[string]struct {
		err    error
		reason string
		detail string
	}{
		"refused":   {&net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}, Unavailable, "dial tcp: connection refused"},
		"reset":     {&net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}, Unavailable, "read tcp: connection reset by peer"},
		"no name":   {&net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Name: "login.x", Err: "no such host", IsNotFound: true}}, Unavailable, "look up login.x: no such host"},
		"time-out":  {context.DeadlineExceeded, Unavailable, "no answer in time"},
		"canceled":  {context.Canceled, Unavailable, "given up"},
		"cut":       {io.ErrUnexpectedEOF, Unavailable, "the connection was closed before the answer"},
		"not TLS":   {tls.RecordHeaderError{Msg: "MARKER"}, Unavailable, "the server does not speak TLS"},
		"authority": {&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, Untrusted, "certificate of an unknown authority"},
		"host name": {&tls.CertificateVerificationError{Err: x509.HostnameError{Certificate: &x509.Certificate{}, Host: "login.x"}}, Untrusted, "certificate for another host than login.x"},
		"expired":   {&tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Reason: x509.Expired}}, Untrusted, "certificate expired or not yet valid"},
		"other":     {errors.New("MARKER: access_token=..."), Unavailable, "the exchange broke"},
	} {
		t.Run(name, func(t *testing.T) {
			f := FromError(entra, wrap(tc.err))
			if f.Class != Transient || f.Reason != tc.reason || f.Detail != tc.detail || f.Status != 0 {
				t.Errorf("%+v", *f)
			}
			if strings.Contains(fmt.Sprintf("%+v%s", *f, f.Error()), "MARKER") {
				t.Errorf("text of the error came through: %+v", *f)
			}
		})
	}
}

func TestOwnFaults(t *testing.T) {
	for reason, f := range map[string]*Fault{
		StoreUnavailable: NoStore(), StoredUnreadable: Sealed(), LifetimeBelowMargin: ShortLived(60e9, 90e9), RejectsFreshToken: FreshRefused(60e9),
		Unreadable: Garbled(200, "no access_token"),
	} {
		if f.Reason != reason || f.Remedy == "" || !strings.Contains(f.Error(), reason) {
			t.Errorf("%s: %+v", reason, *f)
		}
	}
}
