package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/store/seal"
	"mailporter/broker/internal/token"
	"mailporter/kit/redisurl"
	"mailporter/kit/secret"
)

// Store is keeper.Cache and keeper.Credentials in Redis. Any number of goroutines may use it.
type Store struct {
	client  redis.UniversalClient
	sealer  *seal.Sealer
	changes chan string
	pubsub  *redis.PubSub
	running sync.WaitGroup // what goes on in the background
	stop    context.CancelFunc
}

const (
	prefix  = "mailporter:"
	channel = prefix + "changes"
)

// Config says where Redis is.
type Config struct {
	URL      string        // see redisurl; may hold a password
	Password secret.String // instead of one in the URL; may be empty
	Roots    *tls.Config   // for TLS with roots of one's own; nil = the system's
}

// Open connects in the background: a broker starts without its Redis and works as far as it can. Only a URL that makes no
// sense is an error.
func Open(c Config, s *seal.Sealer, log *slog.Logger) (*Store, error) {
	o, err := redisurl.Parse(c.URL, c.Roots)
	if err != nil {
		return nil, err
	}
	if !c.Password.Empty() {
		o.Password = c.Password.Reveal()
	}
	client := redisurl.Open(o)
	ctx, stop := context.WithCancel(context.Background())
	st := &Store{client: client, sealer: s, changes: make(chan string, 256), stop: stop}
	st.pubsub = client.Subscribe(ctx, channel)
	st.running.Go(st.follow)
	st.running.Go(func() { st.check(ctx, log) })
	return st, nil
}

// follow passes on what other brokers publish. Missing some is allowed, so a full channel drops.
func (s *Store) follow() {
	for m := range s.pubsub.Channel() {
		select {
		case s.changes <- m.Payload:
		default:
		}
	}
}

// Close ends its use. Leases that are held lapse.
func (s *Store) Close() error {
	s.stop()
	err := s.pubsub.Close()
	s.running.Wait()
	return errors.Join(err, s.client.Close())
}

// Ping says whether Redis answers.
func (s *Store) Ping(ctx context.Context) error { return s.client.Ping(ctx).Err() }

// Time is Redis's clock: by it leases lapse. In a cluster it is that of any primary.
func (s *Store) Time(ctx context.Context) (time.Time, error) { return s.client.Time(ctx).Result() }

func key(id, what string) string { return prefix + "{" + id + "}:" + what }

func (s *Store) tokenKey(k token.Key) string {
	return key(k.Credential, "token:"+s.sealer.TokenName(k))
}

// Get implements keeper.Cache.
func (s *Store) Get(ctx context.Context, k token.Key) (token.Token, error) {
	b, err := s.client.HGet(ctx, s.tokenKey(k), "v").Bytes()
	if errors.Is(err, redis.Nil) {
		return token.Token{}, nil
	}
	if err != nil {
		return token.Token{}, fmt.Errorf("read token: %w", err)
	}
	return s.sealer.OpenToken(k, b)
}

// Put implements keeper.Cache.
func (s *Store) Put(ctx context.Context, k token.Key, t token.Token) error {
	b, err := s.sealer.Token(k, t)
	if err != nil {
		return err
	}
	if err := putToken.Run(ctx, s.client, []string{s.tokenKey(k)}, t.Generation, b, t.Expires.UnixMilli()).Err(); err != nil {
		return fmt.Errorf("write token: %w", err)
	}
	return nil
}

// Load implements keeper.Credentials.
func (s *Store) Load(ctx context.Context, id string) (keeper.Record, error) {
	b, err := s.client.Get(ctx, key(id, "record")).Bytes()
	if errors.Is(err, redis.Nil) {
		return keeper.Record{}, nil
	}
	if err != nil {
		return keeper.Record{}, fmt.Errorf("read record: %w", err)
	}
	return s.sealer.OpenRecord(id, b)
}

// Shelve implements keeper.Shelver.
func (s *Store) Shelve(ctx context.Context, id string) error {
	if err := shelve.Run(ctx, s.client, []string{key(id, "record"), key(id, "unreadable")}).Err(); err != nil {
		return fmt.Errorf("put record aside: %w", err)
	}
	return nil
}

// Changes implements keeper.Credentials.
func (s *Store) Changes() <-chan string { return s.changes }
