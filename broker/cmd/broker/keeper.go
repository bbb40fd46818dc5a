package main

import (
	"crypto/x509"
	"fmt"
	"os"

	"mailporter/broker/internal/clock"
	"mailporter/broker/internal/directory"
	"mailporter/broker/internal/grant/google"
	"mailporter/broker/internal/grant/microsoft"
	"mailporter/broker/internal/grant/wire"
	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
	"mailporter/kit/daemon"
)

// engine is a Keeper and what must be closed after it.
type engine struct {
	*keeper.Keeper
	close []func()
}

func (e *engine) end() {
	e.Close()
	for _, f := range e.close {
		f()
	}
}

// newKeeper puts the Keeper on its grants and its store.
func newKeeper(d *directory.Directory, st store, roots *x509.CertPool, guard *clock.Guard, f *daemon.Frame) (*engine, error) {
	c := d.Now()
	table, err := remedies(c.Remedies)
	if err != nil {
		return nil, err
	}
	o := wire.Options{Roots: roots, Proxy: c.IdentityVia, Authorities: func() []string { return d.Now().Authorities }, Remedies: table}
	heard := func(from string) wire.Options {
		o.Clock = func(r clock.Reading) { guard.Heard(from, r) }
		return o
	}
	ms, err := microsoft.New(heard("microsoft"))
	if err != nil {
		return nil, fmt.Errorf("identity provider: %w", err)
	}
	g, err := google.New(heard("google"))
	if err != nil {
		return nil, fmt.Errorf("identity provider: %w", err)
	}
	k := keeper.New(keeper.Config{Grants: map[token.Provider]keeper.Grant{token.Microsoft: ms, token.Google: g}, Cache: st, Credentials: st,
		Log: f.Log, Metrics: f.Metrics})
	return &engine{k, []func(){ms.Close, g.Close}}, nil
}

// remedies is the built-in table, overridden by the file if one is named.
func remedies(path string) (*remedy.Table, error) {
	if path == "" {
		return remedy.Default(), nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read remedies: %w", err)
	}
	defer file.Close()
	t, err := remedy.Default().With(file)
	if err != nil {
		return nil, fmt.Errorf("remedies %s: %w", path, err)
	}
	return t, nil
}
