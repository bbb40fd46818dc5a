package stream

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9" // scripts, pools, Sentinel and Cluster

	"mailporter/kit/redisurl"
	"mailporter/kit/secret"
	"mailporter/workers/internal/fault"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/mail"
	"mailporter/workers/internal/sink"
)

// Config says which stream.
type Config struct {
	URL       string        // of the Redis: see redisurl; may hold a password
	Password  secret.String // instead of one in the URL; may be empty
	TLS       *tls.Config   // whom to trust when the URL asks for TLS; nil = the system's
	Stream    string        // the stream's key
	MaxSize   int64         // largest message, in bytes; default 50 MiB: an entry lies in memory, here and there
	MaxLength int64         // most entries in the stream; 0 = any number
}

const defaultMaxSize = 50 << 20

// memory is how long an id is remembered.
const memory = 90 * 24 * time.Hour

// answerTime is how long Redis may take for a message; the defaults of redisurl are for small values.
const answerTime = 30 * time.Second

// puts is how many messages are in memory at once.
const puts = 4

// Check says what is wrong with a stream's name: braces would decide on which node of a cluster it lies.
func Check(name string) error {
	if name == "" || strings.ContainsAny(name, "{} \r\n\x00") {
		return fmt.Errorf("%q cannot name a stream; write a name without spaces and braces", name)
	}
	return nil
}

// Sink adds to one stream. Puts run side by side.
type Sink struct {
	config Config
	client redis.UniversalClient
	slots  chan struct{}
}

var _ inbound.Sink = (*Sink)(nil)

// New prepares a client; nothing is dialled before the first message.
func New(c Config) (*Sink, error) {
	if err := Check(c.Stream); err != nil {
		return nil, fmt.Errorf("redis-stream: %w", err)
	}
	options, err := redisurl.Parse(c.URL, c.TLS)
	if err != nil {
		return nil, fmt.Errorf("redis-stream: %w", err)
	}
	if !c.Password.Empty() {
		options.Password = c.Password.Reveal()
	}
	options.ReadTimeout, options.WriteTimeout = answerTime, answerTime
	if c.MaxSize <= 0 {
		c.MaxSize = defaultMaxSize
	}
	return &Sink{config: c, client: redis.NewUniversalClient(options), slots: make(chan struct{}, puts)}, nil
}

// Close ends the connections.
func (s *Sink) Close() error { return s.client.Close() }

// Put implements inbound.Sink.
func (s *Sink) Put(ctx context.Context, f mail.Folder, it inbound.Item, b mail.Body) error {
	if b.Size() > s.config.MaxSize {
		return fault.Newf(fault.Permanent, "redis-stream: %d bytes are more than the sink's maximum-size, %d", b.Size(), s.config.MaxSize)
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	message, err := read(b)
	if err != nil {
		return fmt.Errorf("redis-stream: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.add(ctx, sink.ID(f, it.Key), f, it, message)
}

func read(b mail.Body) ([]byte, error) {
	r, err := b.Open()
	if err != nil {
		return nil, fmt.Errorf("open the message: %w", err)
	}
	defer r.Close()
	message := make([]byte, b.Size())
	if n, err := io.ReadFull(r, message); err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil, fmt.Errorf("the message ended after %d of %d bytes", n, b.Size())
	} else if err != nil {
		return nil, fmt.Errorf("read the message: %w", err)
	}
	switch _, err := io.ReadFull(r, make([]byte, 1)); {
	case err == nil:
		return nil, fmt.Errorf("the message has more than %d bytes", b.Size())
	case err != io.EOF:
		return nil, fmt.Errorf("read the message: %w", err)
	}
	return message, nil
}

// full is what the script answers when the stream takes no more; 1: added, 0: it is there already.
const full = -1

// add adds one entry unless it is there. Another message under a known id is kept beside it: a key may be mistaken.
// KEYS: seen, stream. ARGV: digest, memory in milliseconds, most entries (0 = any number), fields and values.
var add = redis.NewScript(`
local seen = redis.call('GET', KEYS[1])
if seen and string.find(seen, ARGV[1], 1, true) then return 0 end
local most = tonumber(ARGV[3])
if most > 0 and redis.call('XLEN', KEYS[2]) >= most then return -1 end
redis.call('XADD', KEYS[2], '*', unpack(ARGV, 4))
redis.call('SET', KEYS[1], (seen or '') .. ARGV[1], 'PX', ARGV[2])
return 1`)

func (s *Sink) add(ctx context.Context, id string, f mail.Folder, it inbound.Item, message []byte) error {
	sum := sha256.Sum256(message)
	digest := hex.EncodeToString(sum[:])
	args := []any{digest, memory.Milliseconds(), s.config.MaxLength, "id", id, "mailbox", f.Mailbox, "folder", f.Name, "digest", digest, "message", message}
	if !it.Arrived.IsZero() {
		args = append(args, "received", it.Arrived.UTC().Format(time.RFC3339))
	}
	// One hash tag: a script may touch one slot of a cluster only.
	keys := []string{"mailporter-sink:{" + s.config.Stream + "}:" + id, s.config.Stream}
	n, err := add.Run(ctx, s.client, keys, args...).Int()
	if err != nil {
		return classify(err)
	}
	if n == full {
		return &fault.Error{
			Kind: fault.Throttled, Reason: "STREAM_FULL", Err: fmt.Errorf("redis-stream: %s has %d entries", s.config.Stream, s.config.MaxLength),
			Remedy: "let its consumers catch up and delete (XDEL) what they are done with, or raise maximum-length",
		}
	}
	return nil
}

func classify(err error) error {
	e := &fault.Error{Kind: fault.Temporary, Err: fmt.Errorf("redis-stream: %w", err)}
	var said redis.Error
	begins := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.HasPrefix(said.Error(), w) })
	}
	switch {
	case !errors.As(err, &said):
	case begins("OOM "):
		e.Reason, e.Remedy = "REDIS_FULL", "let the stream's consumers delete what they are done with, or give Redis more maxmemory"
	case begins("NOPERM", "NOAUTH", "WRONGPASS", "ERR Protocol error: unauthenticated"): // the last: before AUTH ten words are the most
		e.Reason, e.Remedy = "REDIS_FORBIDS", "let the sink's Redis user GET and SET mailporter-sink:*, and XADD, XLEN and EVALSHA on the stream"
	case begins("WRONGTYPE"):
		e.Reason, e.Remedy = "NO_STREAM", "name another key for redis-stream: this one holds something else"
	}
	return e
}
