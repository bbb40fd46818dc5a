package program

import (
	"context"
	"crypto/tls"
	"net"

	"mailporter/kit/daemon"
	"mailporter/workers/internal/intake"
	"mailporter/workers/internal/intake/smtp"
)

// door takes mail in until ctx ends.
func (w *sending) door(ctx context.Context, senders *intake.Senders) error {
	c, err := w.doorConfig(ctx)
	if err != nil {
		return err
	}
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", w.config.Intake.Listen)
	if ctx.Err() != nil {
		return nil // told to stop before it began
	}
	if err != nil {
		return err
	}
	w.frame.Log.Info("taking mail in", "address", l.Addr().String())
	w.frame.Health.SetReady("intake", nil)
	return smtp.New(c, w.outbox, senders).Serve(ctx, l)
}

func (w *sending) doorConfig(ctx context.Context) (smtp.Config, error) {
	in := w.config.Intake
	c := smtp.Config{
		Hostname: in.Hostname, Allow: in.Allow, ImplicitTLS: in.ImplicitTLS,
		Rules: intake.Rules{MaxSize: in.MaximumSize, MaxRecipients: in.MaximumRecipients, NullSender: in.NullSender}, Log: w.frame.Log,
	}
	for _, u := range in.Users {
		c.Users = append(c.Users, smtp.User{Name: u.Name, Password: u.Password})
	}
	if in.TLS.Certificate == "" {
		return c, nil
	}
	var err error
	c.TLS, err = doorTLS(ctx, w.frame, in.TLS)
	return c, err
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
