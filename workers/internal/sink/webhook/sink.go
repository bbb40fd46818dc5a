package webhook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/sink"
	"mailporter/workers/internal/web"
)

// Sink posts messages. Puts run side by side.
type Sink struct {
	config Config
	sign   signer
	client *http.Client
}

var _ inbound.Sink = (*Sink)(nil)

// connections is how many posts run at once to one receiver.
const connections = 16

// New makes a sink. Nothing is sent before the first message.
func New(c Config) (*Sink, error) {
	if err := Check(c.URL); err != nil {
		return nil, fmt.Errorf("webhook: the address %w", err)
	}
	if c.Timeout <= 0 {
		c.Timeout = defaultTimeout
	}
	s := &Sink{config: c}
	if !c.Key.Empty() {
		key, err := keyBytes(c.Key)
		if err != nil {
			return nil, fmt.Errorf("webhook: the key %w", err)
		}
		s.sign = signer(key)
	}
	var err error
	s.client, err = web.NewClient(web.Options{Roots: c.Roots, Proxy: c.Proxy, ConnectTimeout: c.Timeout, Silence: c.Timeout, Connections: connections})
	if err != nil {
		return nil, fmt.Errorf("webhook: %w", err)
	}
	return s, nil
}

// Close ends idle connections.
func (s *Sink) Close() error {
	s.client.CloseIdleConnections()
	return nil
}

// slowest is the rate below which a receiver is not worth waiting for, in bytes per second.
const slowest = 32 << 10

// Put implements inbound.Sink.
func (s *Sink) Put(ctx context.Context, f mail.Folder, it inbound.Item, b mail.Body) error {
	seal, err := s.sign.seal(ctx, sink.ID(f, it.Key), time.Now(), b)
	if err != nil {
		return fault.New(fault.Temporary, fmt.Errorf("webhook: %w", err))
	}
	limit := 2*s.config.Timeout + time.Duration(b.Size()/slowest)*time.Second
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	req, err := s.request(ctx, f, it, b, seal)
	if err != nil {
		return fault.New(fault.Temporary, fmt.Errorf("webhook: %w", err))
	}
	res, err := s.client.Do(req)
	if err != nil {
		return broken(err)
	}
	defer res.Body.Close()
	return judge(res)
}

func (s *Sink) request(ctx context.Context, f mail.Folder, it inbound.Item, b mail.Body, seal seal) (*http.Request, error) {
	r, err := b.Open()
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.config.URL, r)
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	req.ContentLength = b.Size()
	if b.Size() == 0 {
		req.Body = http.NoBody // a length of 0 with a body would mean "unknown"
		err = r.Close()
	}
	// Without this HTTP/2 could not send the message again on another connection after GOAWAY.
	req.GetBody = func() (io.ReadCloser, error) { return b.Open() }
	s.headers(req.Header, f, it, seal)
	return req, err
}
