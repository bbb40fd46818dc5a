package setup

import (
	"context"
	"errors"

	"mailporter/kit/daemon"
	"mailporter/kit/tokenclient"
)

// Broker is the broker as a worker sees it: its tokens are at hand while it restarts.
type Broker struct {
	*tokenclient.Cache
	client *tokenclient.Client
}

// Dial prepares the way to the broker. Close it when nobody asks for tokens any more.
func (c Config) Dial(f *daemon.Frame) (*Broker, error) {
	conf := c.Broker
	conf.Metrics = f.Metrics
	client, err := tokenclient.Dial(conf, f.Log)
	if err != nil {
		return nil, err
	}
	return &Broker{tokenclient.NewCache(client), client}, nil
}

// WatchMailboxes is tokenclient.Client's.
func (b *Broker) WatchMailboxes(ctx context.Context, p tokenclient.Protocol, d tokenclient.Direction, fn func([]tokenclient.Settings)) error {
	return b.client.WatchMailboxes(ctx, p, d, fn)
}

// Close forgets the tokens and ends all connections to the broker.
func (b *Broker) Close() error { return errors.Join(b.Cache.Close(), b.client.Close()) }
