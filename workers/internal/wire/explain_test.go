package wire_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"mailporter/kit/certtest"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/wire"
)

// shake answers with a certificate of an authority, over a TLS no newer than most.
func shake(t *testing.T, a *certtest.CA, o certtest.Options, most uint16) func(net.Conn) {
	t.Helper()
	pair, err := a.Issue(o)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(pair.Certificate, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	return func(c net.Conn) {
		_ = tls.Server(c, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS10, MaxVersion: most}).Handshake()
	}
}

// Whoever reads the error knows who must do what.
func TestTLSThatDoesNotComeToStand(t *testing.T) {
	ours, err := certtest.NewCA("ours")
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := certtest.NewCA("theirs")
	if err != nil {
		t.Fatal(err)
	}
	here := []net.IP{net.IPv4(127, 0, 0, 1)}
	for name, c := range map[string]struct {
		server         func(net.Conn)
		reason, remedy string
	}{
		"another name":   {shake(t, ours, certtest.Options{DNS: []string{"elsewhere.example"}}, 0), "CERTIFICATE_NAME", "127.0.0.1"},
		"unknown issuer": {shake(t, theirs, certtest.Options{IP: here}, 0), "CERTIFICATE_UNTRUSTED", "trusted-ca"},
		"out of date":    {shake(t, ours, certtest.Options{IP: here, NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(-24 * time.Hour)}, 0), "CERTIFICATE_EXPIRED", "clock"},
		"TLS 1.0 alone":  {shake(t, ours, certtest.Options{IP: here}, tls.VersionTLS10), "TLS_TOO_OLD", "TLS 1.2"},
		"no TLS": {func(c net.Conn) {
			_, _ = io.WriteString(c, "220 mail.example ESMTP\r\n")
			_, _ = io.Copy(io.Discard, c)
		}, "NO_TLS", "start-tls"},
		"closed, nothing": {func(net.Conn) {}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			host, port := serve(t, c.server)
			roots, err := wire.Roots(ours.PEM())
			if err != nil {
				t.Fatal(err)
			}
			_, err = wire.Dial(t.Context(), wire.Options{Host: host, Port: port, Roots: roots, ConnectTimeout: time.Minute})
			var f *fault.Error
			if errors.As(err, &f) != (c.reason != "") || err == nil {
				t.Fatal(err)
			}
			if f != nil && (f.Reason != c.reason || !strings.Contains(f.Remedy, c.remedy) || f.Kind != fault.Temporary) {
				t.Errorf("%s: %s", f.Reason, f)
			}
		})
	}
}

func TestWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := wire.Within(t.Context(), time.Minute)
		defer cancel()
		<-ctx.Done()
		err := context.Cause(ctx)
		var f *fault.Error
		if !errors.As(err, &f) || f.Reason != "CONNECT_TIMEOUT" || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		forever, stop := wire.Within(t.Context(), 0)
		if _, bound := forever.Deadline(); bound {
			t.Error("0 bounds nothing")
		}
		stop()
	})
}
