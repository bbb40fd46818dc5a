package daemon

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// ServerTLS makes the server's side of mutual TLS from files: clients must show a certificate that descends from
// files.CA. New handshakes use what the files hold now, running connections stay. Files that turn bad are refused with a
// warning, and the old ones stay. It watches until ctx ends. reg may be nil. The error says what is wrong with the files.
func ServerTLS(ctx context.Context, files TLSFiles, log *slog.Logger, reg prometheus.Registerer) (*tls.Config, error) {
	k, err := keep(ctx, files, log, reg)
	if err != nil {
		return nil, err
	}
	conf := k.server()
	conf.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return k.server(), nil }
	return conf, nil
}

// ClientTLS makes the client's side of mutual TLS: the server must show a certificate for name, a host name or an IP
// address, that descends from files.CA. An empty name means the host name that the connection is opened to; IP addresses
// need a name here. Otherwise it is as ServerTLS.
func ClientTLS(ctx context.Context, files TLSFiles, name string, log *slog.Logger, reg prometheus.Registerer) (*tls.Config, error) {
	k, err := keep(ctx, files, log, reg)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		ServerName: name,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &k.now.Load().pair, nil
		},
		// RootCAs cannot change once the configuration is in use, so the library's verification is replaced by the same
		// one against the pool of the day.
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection verifies chain and name
		VerifyConnection:   func(cs tls.ConnectionState) error { return verify(cs, name, k.now.Load().pool) },
	}, nil
}

// verify is what crypto/tls does itself when it may. The name in cs is empty for IP addresses, and an empty name would mean
// to x509 that any name will do.
func verify(cs tls.ConnectionState, name string, roots *x509.CertPool) error {
	name = cmp.Or(name, cs.ServerName)
	if name == "" {
		return errors.New("no server name to verify")
	}
	if len(cs.PeerCertificates) == 0 {
		return errors.New("the server showed no certificate")
	}
	o := x509.VerifyOptions{Roots: roots, DNSName: name, Intermediates: x509.NewCertPool()}
	for _, c := range cs.PeerCertificates[1:] {
		o.Intermediates.AddCert(c)
	}
	_, err := cs.PeerCertificates[0].Verify(o)
	return err
}

// keeper holds what the files held when they were last good.
type keeper struct {
	files TLSFiles
	log   *slog.Logger
	gauge prometheus.Gauge
	now   atomic.Pointer[material]
}

func keep(ctx context.Context, files TLSFiles, log *slog.Logger, reg prometheus.Registerer) (*keeper, error) {
	k := &keeper{files: files, log: log, gauge: notAfter(reg, files.Certificate)}
	Watch(ctx, log, []string{files.Certificate, files.Key, files.CA}, k.reload)
	m, problems := files.load(time.Now())
	if len(problems) > 0 {
		return nil, joined(problems)
	}
	k.use(m)
	return k, nil
}

func joined(problems []TLSProblem) error {
	all := make([]error, len(problems))
	for i, p := range problems {
		all[i] = fmt.Errorf("tls %s: %w", p.Option, p)
	}
	return errors.Join(all...)
}

func (k *keeper) use(m *material) {
	k.now.Store(m)
	k.gauge.Set(float64(m.pair.Leaf.NotAfter.Unix()))
}

func (k *keeper) reload() {
	m, problems := k.files.load(time.Now())
	if len(problems) > 0 {
		k.log.Warn("changed TLS files cannot be used; the old ones stay", "error", joined(problems))
		return
	}
	k.use(m)
	k.log.Info("TLS files were taken up", "certificate", k.files.Certificate, "not_after", m.pair.Leaf.NotAfter.UTC())
}

// server is the configuration of one moment. Tickets are off: a resumed session would not look at the certificate again.
func (k *keeper) server() *tls.Config {
	m := k.now.Load()
	return &tls.Config{
		MinVersion:             tls.VersionTLS12,
		Certificates:           []tls.Certificate{m.pair},
		ClientAuth:             tls.RequireAndVerifyClientCert,
		ClientCAs:              m.pool,
		SessionTicketsDisabled: true,
	}
}

// notAfter is the gauge of one certificate file; a file that is used twice has one gauge.
func notAfter(reg prometheus.Registerer, file string) prometheus.Gauge {
	vec := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "tls_certificate_not_after_seconds",
		Help: "When the certificate in use expires, in seconds since 1970.",
	}, []string{"file"})
	if reg == nil {
		return vec.WithLabelValues(file)
	}
	var already prometheus.AlreadyRegisteredError
	if err := reg.Register(vec); errors.As(err, &already) {
		if old, ok := already.ExistingCollector.(*prometheus.GaugeVec); ok {
			vec = old
		}
	}
	return vec.WithLabelValues(file)
}
