package program

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"

	"mailporter/kit/daemon"
	"mailporter/workers/internal/intake"
	"mailporter/workers/internal/intake/folder"
	"mailporter/workers/internal/intake/grpc"
	"mailporter/workers/internal/intake/smtp"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/setup"
)

// A door is a way in that is open: it takes mail in until ctx ends, or until it cannot go on.
type door func(ctx context.Context) error

// doors takes mail in by every way that the file has until ctx ends. One that cannot be opened, or cannot go on, ends all.
func (w *sending) doors(ctx context.Context, senders *intake.Senders) error {
	all, err := w.open(ctx, senders)
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	if err != nil {
		stop(err) // those that are open close at once
	} else {
		w.frame.Health.SetReady("intake", nil)
	}
	var open sync.WaitGroup
	for _, serve := range all {
		open.Go(func() {
			if err := serve(ctx); err != nil {
				stop(err)
			}
		})
	}
	open.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// open opens the doors; those that are open come back beside an error too.
func (w *sending) open(ctx context.Context, senders *intake.Senders) (all []door, err error) {
	for _, way := range w.ways() {
		if ctx.Err() != nil {
			break // told to stop before it began
		}
		serve, err := way.open(ctx, senders)
		if err != nil && ctx.Err() == nil {
			return all, fmt.Errorf("%s: %w", way.name, err)
		}
		if serve != nil {
			all = append(all, serve)
		}
	}
	return all, nil
}

// way is one of the ways in that the file has.
type way struct {
	name string
	open func(context.Context, *intake.Senders) (door, error)
}

func (w *sending) ways() (all []way) {
	in := w.config.Intake
	for _, listener := range in.SMTP {
		all = append(all, way{"smtp", func(ctx context.Context, s *intake.Senders) (door, error) { return w.openSMTP(ctx, listener, s) }})
	}
	if in.GRPC != nil {
		all = append(all, way{"grpc", w.openGRPC})
	}
	if in.Folder != nil {
		all = append(all, way{"folder", w.openFolder})
	}
	return all
}

// through is the outbox behind a door.
func (w *sending) through(door string) outbound.Outbox { return counted{w.outbox, w.arrivals, door} }

// listen takes an address for a door.
func (w *sending) listen(ctx context.Context, door, address string) (net.Listener, error) {
	var conf net.ListenConfig
	l, err := conf.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	w.frame.Log.Info("taking mail in", "by", door, "address", l.Addr().String())
	return l, nil
}

func (w *sending) openSMTP(ctx context.Context, in setup.SMTPIntake, senders *intake.Senders) (door, error) {
	c := smtp.Config{
		Rules: in.Rules, Hostname: w.config.Intake.Hostname, Allow: in.Allow, Clients: in.Clients, ImplicitTLS: in.ImplicitTLS,
		MendLineEnds: in.MendLineEnds, Log: w.frame.Log,
	}
	for _, u := range in.Users {
		c.Users = append(c.Users, smtp.User{Name: u.Name, Password: u.Password, Senders: u.Senders})
	}
	if in.TLS.Certificate != "" {
		var err error
		if c.TLS, err = doorTLS(ctx, w.frame, in.TLS); err != nil {
			return nil, err
		}
	}
	l, err := w.listen(ctx, "SMTP", in.Listen)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return smtp.New(c, w.through("smtp"), senders).Serve(ctx, l) }, nil
}

func (w *sending) openGRPC(ctx context.Context, senders *intake.Senders) (door, error) {
	in := w.config.Intake.GRPC
	c := grpc.Config{Rules: in.Rules, Clients: in.Clients, Log: w.frame.Log}
	if in.TLS.Certificate != "" {
		var err error
		if c.TLS, err = daemon.ServerTLS(ctx, in.TLS, w.frame.Log, w.frame.Metrics); err != nil {
			return nil, err
		}
	}
	l, err := w.listen(ctx, "gRPC", in.Listen)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return grpc.New(c, w.through("grpc"), senders).Serve(ctx, l) }, nil
}

func (w *sending) openFolder(_ context.Context, senders *intake.Senders) (door, error) {
	in := w.config.Intake.Folder
	d := folder.New(folder.Config{Rules: in.Rules, Path: in.Path, Poll: in.Poll, Senders: in.Senders, Log: w.frame.Log}, w.through("folder"), senders)
	if err := d.Prepare(); err != nil {
		return nil, err
	}
	w.frame.Log.Info("taking mail in", "by", "folder", "folder", in.Path)
	return d.Serve, nil
}

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
