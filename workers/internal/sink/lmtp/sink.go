package lmtp

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/sink"
)

// Sink delivers to one LMTP server. Puts run side by side, each over a connection of its own.
type Sink struct {
	config     Config
	deliveries inbound.Deliveries
	turns      sink.Turns
	slots      chan struct{} // one for each connection that may be

	mu      sync.Mutex
	idle    []*conn         // the last one used last
	unnoted map[string]bool // handed over, but the state did not take the note
}

var _ inbound.Sink = (*Sink)(nil)

// New makes a sink. Nothing is dialled before the first message.
func New(c Config, d inbound.Deliveries) (*Sink, error) {
	c = c.withDefaults()
	if err := Check(c.Address); err != nil {
		return nil, fmt.Errorf("lmtp: the address %w", err)
	}
	if err := CheckRecipient(c.Recipient); err != nil {
		return nil, fmt.Errorf("lmtp: the recipient %w", err)
	}
	return &Sink{config: c, deliveries: d, slots: make(chan struct{}, c.Connections), unnoted: map[string]bool{}}, nil
}

// Put implements inbound.Sink.
func (s *Sink) Put(ctx context.Context, f mail.Folder, it inbound.Item, b mail.Body) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	id := sink.ID(f, it.Key)
	defer s.turns.Take(id)()
	done, err := s.delivered(ctx, id)
	if err != nil {
		return fmt.Errorf("lmtp: %w", err)
	}
	if !done {
		if err := s.deliver(ctx, f.Mailbox, b); err != nil {
			return fmt.Errorf("lmtp: %w", err)
		}
	}
	return s.note(ctx, id)
}

// delivered says whether the server has it.
func (s *Sink) delivered(ctx context.Context, id string) (bool, error) {
	s.mu.Lock()
	unnoted := s.unnoted[id]
	s.mu.Unlock()
	if unnoted {
		return true, nil
	}
	return s.deliveries.Has(ctx, id)
}

// note remembers a delivery. Until the state takes the note this process knows.
func (s *Sink) note(ctx context.Context, id string) error {
	err := s.deliveries.Note(context.WithoutCancel(ctx), id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.unnoted[id] = true
		return fmt.Errorf("lmtp: %w", err)
	}
	delete(s.unnoted, id)
	return nil
}

func (s *Sink) deliver(ctx context.Context, mailbox string, b mail.Body) error {
	recipient := strings.ReplaceAll(s.config.Recipient, Placeholder, mailbox)
	if err := CheckRecipient(recipient); err != nil {
		return fmt.Errorf("recipient: %w", err)
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		l, used, err := s.take(ctx)
		if err != nil {
			return err
		}
		usable, err := l.deliver(ctx, recipient, b)
		s.give(l, usable)
		if used && errors.Is(err, errStale) {
			continue // the next one; at last a fresh one
		}
		return err
	}
}

// mostIdle is how long a connection is kept for the next message: shorter than servers wait.
const mostIdle = 30 * time.Second

// take finds a connection or makes one.
func (s *Sink) take(ctx context.Context) (l *conn, used bool, err error) {
	for {
		if l = s.pop(); l == nil {
			l, err = dial(ctx, s.config)
			return l, false, err
		}
		if time.Since(l.idle) < mostIdle {
			return l, true, nil
		}
		l.quit()
	}
}

func (s *Sink) pop() *conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.idle) == 0 {
		return nil
	}
	l := s.idle[len(s.idle)-1]
	s.idle = s.idle[:len(s.idle)-1]
	return l
}

func (s *Sink) give(l *conn, usable bool) {
	if !usable {
		l.wire.Abort()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l.idle = time.Now()
	s.idle = append(s.idle, l)
}

// Close ends idle connections. No Put may run.
func (s *Sink) Close() error {
	for l := s.pop(); l != nil; l = s.pop() {
		l.quit()
	}
	return nil
}
