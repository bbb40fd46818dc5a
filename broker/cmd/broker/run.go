package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"sync"

	"mailporter/broker/internal/audit"
	"mailporter/broker/internal/directory"
	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/service"
	"mailporter/kit/daemon"
)

// garbage is what a busy broker makes in a few hundred milliseconds, in bytes.
const garbage = 64 << 20

// run puts the broker together and serves until ctx ends.
func run(ctx context.Context, f *daemon.Frame, c *directory.Config) (err error) {
	f.Health.Expect("serving")
	roots, err := trusted(c.TrustedCA)
	if err != nil {
		return err
	}
	st, err := openStore(c.Settings, roots, f.Log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	journal, err := openAudit(c.Settings)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, journal.Close()) }()
	d := directory.Open(f.ConfigPath, c, f.Log)
	daemon.SpareHeap(garbage)
	guard, guarding := guardClock(ctx, d, st, f)
	defer guarding.Wait()
	k, err := newKeeper(d, st, roots, guard, f)
	if err != nil {
		return err
	}
	defer k.end()

	watching := watch(ctx, f, d, k.Keeper)
	defer watching.Wait()
	caring := care(ctx, f, c.KeepAlive, d, k.Keeper)
	defer caring.Wait()
	f.OnReload(func() { reopen(journal, f.Log) })
	return serve(ctx, f, c, service.Config{Tokens: k.Keeper, Directory: d, Audit: journal, Log: f.Log, Metrics: f.Metrics})
}

// serve listens and answers until ctx ends.
func serve(ctx context.Context, f *daemon.Frame, c *directory.Config, sc service.Config) error {
	if c.TLS != (daemon.TLSFiles{}) {
		conf, err := daemon.ServerTLS(ctx, c.TLS, f.Log, f.Metrics)
		if err != nil {
			return err
		}
		sc.TLS = conf
	}
	stop, err := acceptAccounts(ctx, f, c, &sc)
	if err != nil {
		return err
	}
	defer stop()
	l, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	f.Log.Info("serving", "address", l.Addr().String(), "mutual_tls", sc.TLS != nil, "mailboxes", len(c.Mailboxes))
	f.Health.SetReady("serving", nil)
	return service.New(sc).Serve(ctx, l, c.DrainTime)
}

// watch reloads whenever a file changes that the current configuration came from, and on SIGHUP. The set of files may be
// another one after each reload.
func watch(ctx context.Context, f *daemon.Frame, d *directory.Directory, k *keeper.Keeper) *sync.WaitGroup {
	reload := func() {
		if d.Reload().Err() == nil {
			k.Retire(d.Now().Live)
			daemon.SpareHeap(garbage)
		}
	}
	f.OnReload(reload)
	var running sync.WaitGroup
	running.Go(func() {
		for ctx.Err() == nil {
			follow(ctx, f, d, reload)
		}
	})
	return &running
}

// follow watches one set of files until the configuration names another one.
func follow(ctx context.Context, f *daemon.Frame, d *directory.Directory, reload func()) {
	ctx, cancel := context.WithCancel(ctx)
	paths := d.Now().Paths()
	ended := daemon.Watch(ctx, f.Log, paths, reload)
	defer func() {
		cancel()
		<-ended
	}()
	if d.Now().Stale() { // changed after it was read and before it was watched
		reload()
	}
	for now := d.Now(); ctx.Err() == nil && slices.Equal(now.Paths(), paths); now = d.Now() {
		select {
		case <-now.Replaced():
		case <-ctx.Done():
		}
	}
}

func openAudit(s directory.Settings) (*audit.Log, error) {
	if s.AuditFile == "" {
		return audit.To(os.Stdout), nil
	}
	return audit.Open(s.AuditFile, audit.Durability(s.AuditSync))
}

func reopen(l *audit.Log, log *slog.Logger) {
	if err := l.Reopen(); err != nil {
		log.Error("the audit stays in its old file", "error", err)
	}
}

// trusted is the system's roots and the configured ones; nil if nothing was configured.
func trusted(paths []string) (*x509.CertPool, error) {
	if len(paths) == 0 {
		return nil, nil
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	for _, path := range paths {
		pem, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read trusted-ca: %w", err)
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("trusted-ca %s holds no certificate in PEM", path)
		}
	}
	return pool, nil
}

func tlsWith(roots *x509.CertPool) *tls.Config {
	if roots == nil {
		return nil
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
}
