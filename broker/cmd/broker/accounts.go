package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"mailporter/broker/internal/directory"
	"mailporter/broker/internal/service"
	"mailporter/broker/internal/serviceaccount"
	"mailporter/kit/config"
	"mailporter/kit/daemon"
)

// accounts verifies service-account tokens as the settings say; nil if they say nothing.
func accounts(s directory.Settings, log *slog.Logger) (*serviceaccount.Verifier, error) {
	k := s.Kubernetes
	if k == (directory.Kubernetes{}) {
		return nil, nil
	}
	var roots *x509.CertPool
	if k.CA != "" {
		pem, err := os.ReadFile(k.CA)
		if err != nil {
			return nil, fmt.Errorf("read kubernetes.ca: %w", err)
		}
		// These alone: the keys decide who may have a token, and no public authority has to do with them.
		if roots = x509.NewCertPool(); !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("kubernetes.ca %s holds no certificate in PEM", k.CA)
		}
	}
	return serviceaccount.New(serviceaccount.Config{Issuer: k.Issuer, Audience: k.Audience, Keys: k.Keys, Roots: roots, TokenFile: k.TokenFile, Log: log})
}

// acceptAccounts lets callers prove themselves by tokens, if the settings say so. The keys are followed until stop is called.
func acceptAccounts(ctx context.Context, f *daemon.Frame, c *directory.Config, sc *service.Config) (stop func(), err error) {
	v, err := accounts(c.Settings, f.Log)
	if err != nil || v == nil {
		return func() {}, err
	}
	sc.Accounts = v
	ctx, cancel := context.WithCancel(ctx)
	var following sync.WaitGroup
	following.Go(func() { v.Follow(ctx) })
	f.Log.Info("service-account tokens are accepted", "issuer", c.Kubernetes.Issuer, "audience", c.Kubernetes.Audience, "keys", c.Kubernetes.Keys)
	return func() { cancel(); following.Wait() }, nil
}

// checkAccounts complains about what accounts would stumble over, and about tokens without TLS.
func checkAccounts(root *config.Map, s directory.Settings) {
	if s.Kubernetes == (directory.Kubernetes{}) {
		return
	}
	if s.TLS == (daemon.TLSFiles{}) {
		root.Complain("kubernetes", "needs tls: a token must not travel in the clear", "write tls, or remove kubernetes")
	}
	if s.Kubernetes.CA != "" {
		if _, err := accounts(s, slog.New(slog.DiscardHandler)); err != nil {
			root.Complain("kubernetes", err.Error(), "name a PEM file with CA certificates; in a pod /var/run/secrets/kubernetes.io/serviceaccount/ca.crt")
		}
	}
}
