package daemon

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"sync/atomic"

	"mailporter/kit/config"
)

// ReadCA is ReadTLS for clients that show no certificate: it reads the option caOption of m alone.
func ReadCA(m *config.Map, caOption string) TLSFiles {
	m.Require(caOption, "name a PEM file")
	f := TLSFiles{CA: m.Path(caOption, "")}
	m.Done()
	if _, err := readPool(f.CA); err != nil && f.CA != "" {
		m.Complain(caOption, f.CA+" "+err.Error(), "name a PEM file with at least one CA certificate")
	}
	return f
}

// RootsTLS is ClientTLS for clients that show no certificate: the server must show one for name that descends from the
// PEM file ca, and the client proves who it is by other means. The file is watched until ctx ends.
func RootsTLS(ctx context.Context, ca, name string, log *slog.Logger) (*tls.Config, error) {
	var pool atomic.Pointer[x509.CertPool]
	reload := func() {
		fresh, err := readPool(ca)
		if err != nil {
			log.Warn("a changed TLS file cannot be used; the old one stays", "error", fmt.Errorf("tls ca: %s %w", ca, err))
			return
		}
		pool.Store(fresh)
		log.Info("TLS files were taken up", "ca", ca)
	}
	Watch(ctx, log, []string{ca}, reload)
	first, err := readPool(ca)
	if err != nil {
		return nil, fmt.Errorf("tls ca: %s %w", ca, err)
	}
	pool.CompareAndSwap(nil, first) // unless it changed meanwhile
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         name,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection verifies chain and name, against the pool of the day
		VerifyConnection:   func(cs tls.ConnectionState) error { return verify(cs, name, pool.Load()) },
	}, nil
}
