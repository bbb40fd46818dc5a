package main

import (
	"context"
	"crypto/tls"

	"mailporter/kit/daemon"
)

// doorTLS is the intake's TLS. Unlike elsewhere a client need not show a certificate: it may log in instead. Without
// client-ca none is asked for.
func doorTLS(ctx context.Context, f *daemon.Frame, files daemon.TLSFiles) (*tls.Config, error) {
	auth := tls.VerifyClientCertIfGiven
	if files.CA == "" {
		auth, files.CA = tls.NoClientCert, files.Certificate // a pool is wanted, nobody will be measured by it
	}
	conf, err := daemon.ServerTLS(ctx, files, f.Log, f.Metrics)
	if err != nil {
		return nil, err
	}
	today := conf.GetConfigForClient
	conf.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		c, err := today(h)
		if err != nil {
			return nil, err
		}
		c.ClientAuth = auth
		return c, nil
	}
	return conf, nil
}
