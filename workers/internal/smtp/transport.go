package smtp

import (
	"context"
	"errors"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
)

// Transport sends the mail of one mailbox. It is safe for use by many goroutines.
type Transport struct {
	config   Config
	settings tokenclient.Settings
	broker   tokenclient.Broker
	pool     *pool
	bound    bound
}

var _ outbound.Transport = (*Transport)(nil)

// New makes a mailbox's Transport; it connects with the first Send. The error is about the settings.
func New(c Config, s tokenclient.Settings, b tokenclient.Broker) (*Transport, error) {
	if err := check(s); err != nil {
		return nil, err
	}
	t := &Transport{config: c.withDefaults(), settings: s, broker: b}
	t.pool = newPool(s.Outbound.PoolSize, s.Outbound.CheckIdle, s.Outbound.MaxIdle, t.open)
	t.pool.once = c.Shared && len(s.Outbound.Limits) > 0
	return t, nil
}

// open dials and logs in. Its errors are about the server, not about a message.
func (t *Transport) open(ctx context.Context) (*conn, error) {
	c, err := t.connect(ctx)
	if err != nil {
		return nil, outbound.Unreachable(err)
	}
	return c, nil
}

// connect dials and logs in; a refused token is replaced once.
func (t *Transport) connect(ctx context.Context) (*conn, error) {
	if t.settings.Endpoint.Mechanism == tokenclient.NoLogin {
		return dial(ctx, t.config, t.settings.Endpoint, tokenclient.Token{})
	}
	c, _, err := tokenclient.Use(ctx, t.broker, t.settings.Ask(), func(ctx context.Context, tok tokenclient.Token) (*conn, error) {
		return dial(ctx, t.config, t.settings.Endpoint, tok)
	})
	return c, err
}

// Send implements outbound.Transport.
func (t *Transport) Send(ctx context.Context, e mail.Envelope, b mail.Body) (outbound.Receipt, error) {
	for fresh := false; ; fresh = true {
		c, err := t.pool.take(ctx, fresh)
		if err != nil {
			return outbound.Receipt{}, err
		}
		reused := c.used
		receipt, err := t.transact(ctx, c, e, b)
		if reused && errors.Is(err, errStale) {
			continue // servers close idle connections; the message was not even begun
		}
		return receipt, err
	}
}

// Close implements outbound.Transport. It ends idle connections; those in use end with their transaction.
func (t *Transport) Close() error {
	t.pool.close()
	return nil
}

// transact runs one transaction and gives the connection back, or drops it.
func (t *Transport) transact(ctx context.Context, c *conn, e mail.Envelope, b mail.Body) (outbound.Receipt, error) {
	stop := context.AfterFunc(ctx, c.wire.Abort)
	x := transaction{conn: c, config: t.config, envelope: e, body: b, bound: &t.bound}
	receipt, err := x.run()
	if !stop() && err == nil {
		x.broken = true // it was answered, but the connection is gone
	}
	c.used = true
	if x.broken {
		t.pool.drop(c)
	} else {
		t.pool.give(c)
	}
	return receipt, err
}
