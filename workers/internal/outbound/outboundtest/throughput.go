package outboundtest

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"

	"mailporter/kit/tokenclient"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/outbound"
)

const (
	submitters  = 16
	connections = 8
	ordinary    = 20 << 10 // bytes of a message
)

// Throughput measures b.N messages on their way through an empty Outbox: 16 submitters add them while a Sender takes them out over 8
// connections to a server that answers at once.
func Throughput(b *testing.B, o outbound.Outbox) {
	b.Helper()
	taken := &taker{want: int64(b.N), all: make(chan struct{})}
	s := &outbound.Sender{Protocol: "SMTP", Outbox: o, Log: slog.New(slog.DiscardHandler),
		Transport: func(tokenclient.Settings) (outbound.Transport, error) { return taken, nil }}
	s.Set([]tokenclient.Settings{{Mailbox: support, Outbound: tokenclient.OutboundSettings{PoolSize: connections}}})
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); s.Run(ctx) }()
	b.ResetTimer()
	submit(b, o)
	<-taken.all
	stop()
	<-ended
}

// submit adds b.N messages.
func submit(b *testing.B, o outbound.Outbox) {
	message := bytes.Repeat([]byte("0123456789abcde\n"), ordinary/16)
	var next atomic.Int64
	var side sync.WaitGroup
	for range submitters {
		side.Go(func() {
			for next.Add(1) <= int64(b.N) {
				s := letter(support, ann)
				s.Body = bytes.NewReader(message)
				if _, err := o.Add(b.Context(), s); err != nil {
					b.Error(err)
				}
			}
		})
	}
	side.Wait()
}

// taker is a server that takes everything and keeps nothing.
type taker struct {
	taken atomic.Int64
	want  int64
	all   chan struct{} // closed with the last message
}

// Send implements outbound.Transport.
func (t *taker) Send(_ context.Context, _ mail.Envelope, m mail.Body) (outbound.Receipt, error) {
	r, err := m.Open()
	if err != nil {
		return outbound.Receipt{}, err
	}
	defer r.Close()
	if _, err := io.Copy(io.Discard, r); err != nil {
		return outbound.Receipt{}, err
	}
	if t.taken.Add(1) == t.want {
		close(t.all)
	}
	return outbound.Receipt{}, nil
}

// Close implements outbound.Transport.
func (t *taker) Close() error { return nil }
