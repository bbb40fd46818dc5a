package main

import (
	"crypto/x509"
	"log/slog"
	"strings"

	"mailporter/broker/internal/directory"
	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/store/file"
	"mailporter/broker/internal/store/redis"
	"mailporter/broker/internal/store/seal"
)

// store is where tokens and records are kept.
type store interface {
	keeper.Cache
	keeper.Credentials
	Close() error
}

// openStore opens file:DIR or Redis. A keyset is made only for a store that nobody else shares.
func openStore(s directory.Settings, roots *x509.CertPool, log *slog.Logger) (store, error) {
	dir, isFile := strings.CutPrefix(s.Store, "file:")
	if !isFile {
		sealer, err := seal.Open(s.Keyset)
		if err != nil {
			return nil, err
		}
		return redis.Open(redis.Config{URL: s.Store, Password: s.StorePassword, Roots: tlsWith(roots)}, sealer, log)
	}
	sealer, err := seal.OpenOrMake(s.Keyset)
	if err != nil {
		return nil, err
	}
	return file.Open(dir, sealer)
}
