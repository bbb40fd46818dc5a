package setup

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"strings"

	"mailporter/kit/config"
	"mailporter/kit/redisurl"
	"mailporter/kit/secret"
	"mailporter/workers/internal/inbound"
	"mailporter/workers/internal/outbound"
	"mailporter/workers/internal/slots"
	"mailporter/workers/internal/state/file"
	"mailporter/workers/internal/state/redis"
)

// State says where the worker keeps what it must not forget: Folder or Redis is set.
type State struct {
	Folder   string
	Redis    string         // URL; may hold a password
	Password secret.String  // of the Redis, instead of one in the URL; may be empty
	Roots    *x509.CertPool // whom to trust when the URL asks for TLS
}

// Shared says whether other workers may use the same state.
func (s State) Shared() bool { return s.Redis != "" }

// Store is an opened state, whatever the engine.
type Store interface {
	Checkpoints() inbound.Checkpoints
	Quarantine() inbound.Quarantine
	Deliveries() inbound.Deliveries
	// Peers is nil if nobody else can use the state.
	Peers() inbound.Peers
	Outbox() outbound.Outbox
	Ledger() outbound.Ledger
	Slots() slots.Slots
	// Ping says whether it works, for /readyz.
	Ping() error
	Close() error
}

// Open opens the state. Close it when done.
func (s State) Open(ctx context.Context, log *slog.Logger) (Store, error) {
	if s.Redis == "" {
		return opened(file.Open(s.Folder))
	}
	trust := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: s.Roots}
	return opened(redis.Open(ctx, redis.Config{URL: s.Redis, Password: s.Password, Roots: trust}, log))
}

// opened keeps a nil pointer from becoming a Store that is not nil.
func opened[S Store](s S, err error) (Store, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

const stateRemedy = "write file:DIR for one process, or redis://host:6379/0 for a fleet"

func readState(root *config.Map, roots *x509.CertPool) State {
	s := State{Password: readSecret(root, "state-password"), Roots: roots}
	text := root.Require("state", stateRemedy)
	dir, isFile := strings.CutPrefix(text, "file:")
	switch {
	case text == "":
	case isFile && dir == "":
		root.Complain("state", "names no folder", stateRemedy)
	case isFile:
		s.Folder = writable(root, "state", root.Resolve(dir))
		if root.Has("state-password") {
			root.Complain("state-password", "a folder has no password", "remove it")
		}
	default:
		s.Redis = readRedis(root, text)
	}
	return s
}

// readRedis never repeats the address in a complaint: it may hold a password.
func readRedis(root *config.Map, address string) string {
	scheme, _, isURL := strings.Cut(address, "://")
	if !isURL || !strings.HasPrefix(scheme, "redis") {
		root.Complain("state", "is no place to keep state", stateRemedy)
		return ""
	}
	o, err := redisurl.Parse(address, nil)
	if err != nil {
		root.Complain("state", err.Error(), "correct the address")
		return ""
	}
	if o.Password != "" {
		root.Warn("state", "a password stands in the address", "take it out and write state-password: {file: PATH}")
	}
	return address
}

// secretRemedy is for a reference that leads nowhere.
const secretRemedy = "name a readable file or a variable that is set: {file: PATH} or {env: NAME}"
