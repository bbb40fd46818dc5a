package redis

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"

	"mailporter/kit/redisurl"
	"mailporter/kit/secret"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/slots"
)

// Store is the fleet's memory. Any number of goroutines may use it.
type Store struct {
	client  redis.UniversalClient
	changed chan struct{}
	slots   *fleetSlots
}

const prefix = "mailporter-worker:"

// Config says where Redis is.
type Config struct {
	URL      string        // see redisurl; may hold a password
	Password secret.String // instead of one in the URL; may be empty
	Roots    *tls.Config   // for TLS with roots of one's own; nil = the system's
}

// Open prepares a client. A worker starts without its Redis and waits for it, so only a URL that makes no sense is an
// error. It looks once whether this Redis would lose mail, and says so in the log.
func Open(ctx context.Context, c Config, log *slog.Logger) (*Store, error) {
	options, err := redisurl.Parse(c.URL, c.Roots)
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	if !c.Password.Empty() {
		options.Password = c.Password.Reveal()
	}
	s := &Store{client: redisurl.Open(options), changed: make(chan struct{}, 1)}
	s.slots = &fleetSlots{client: s.client}
	s.check(ctx, log)
	return s, nil
}

// check warns about what would lose mail that was acknowledged. Managed services forbid CONFIG: then it says what it cannot know.
func (s *Store) check(ctx context.Context, log *slog.Logger) {
	r, err := redisurl.Inspect(ctx, s.client)
	if err != nil {
		log.Warn("redis does not answer yet; no mail moves until it does", "error", err)
		return
	}
	for _, f := range r.Findings {
		log.Warn("redis may lose mail that was acknowledged", "server", f.Server, "setting", f.Setting, "is", f.Is, "should-be", f.ShouldBe, "because", f.Because)
	}
	for _, u := range r.Unknown {
		log.Warn("redis does not let its user see whether it may lose mail", "setting", u)
	}
}

// ifReplicated runs a write and waits until a replica has it, so that a failover cannot forget it. Where replicas are too slow, lenient
// goes on: what a failover then forgets costs a second try of something, not a message.
func ifReplicated(ctx context.Context, lenient bool, write func(context.Context) error) error {
	ctx, confirmed := redisurl.Replicated(ctx)
	if err := write(ctx); err != nil || lenient {
		return err
	}
	return confirmed()
}

// Checkpoints is the part that remembers cursors.
func (s *Store) Checkpoints() inbound.Checkpoints { return checkpoints{s} }

// Quarantine is the part that remembers what was passed over.
func (s *Store) Quarantine() inbound.Quarantine { return quarantine{s} }

// Peers is the part that knows which workers share the folders.
func (s *Store) Peers() inbound.Peers { return peers{s} }

// Deliveries is the part that remembers what sinks handed over.
func (s *Store) Deliveries() inbound.Deliveries { return deliveries{s} }

// Ledger is the part that counts what is sent.
func (s *Store) Ledger() outbound.Ledger { return ledger{s} }

// Outbox is the part that keeps mail until it is sent.
func (s *Store) Outbox() outbound.Outbox { return outbox{s} }

// Slots are those of all workers at this Redis.
func (s *Store) Slots() slots.Slots { return s.slots }

// Ping says whether Redis answers.
func (s *Store) Ping() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return s.client.Ping(ctx).Err()
}

// Close ends the store's use. Leases and claims that are held lapse.
func (s *Store) Close() error { return s.client.Close() }
