package serviceaccount

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	every   = 5 * time.Minute  // how often the keys are read
	pause   = 10 * time.Second // the least time between two readings
	within  = 5 * time.Second  // of one reading
	largest = 64 << 10         // bytes; a set of a few keys has a few KiB
)

// keyring is the issuer's keys as they were last read. Any number of goroutines may look for one.
type keyring struct {
	load func(context.Context) ([]byte, error)
	now  atomic.Pointer[[]jose.JSONWebKey] // nil: never read

	turn  chan struct{} // taken by who reads; guards the two below
	tried time.Time
	err   error // of the last reading
}

func newKeyring(load func(context.Context) ([]byte, error)) *keyring {
	return &keyring{load: load, turn: make(chan struct{}, 1)}
}

// follow reads the keys until ctx ends: soon again while there are none.
func (k *keyring) follow(ctx context.Context, log *slog.Logger) {
	for ctx.Err() == nil {
		wait := every
		if err := k.read(ctx); err != nil && ctx.Err() == nil {
			log.Warn("cannot read the keys of service-account tokens; the last ones stay", "error", err, "there_are_some", k.now.Load() != nil)
			if k.now.Load() == nil {
				wait = pause
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// find returns the keys that may have made a signature. The error says why there are none, if the issuer could not be asked.
func (k *keyring) find(ctx context.Context, id, algorithm string) ([]jose.JSONWebKey, error) {
	if found := k.matching(id, algorithm); len(found) > 0 {
		return found, nil
	}
	err := k.read(ctx)
	if found := k.matching(id, algorithm); len(found) > 0 {
		return found, nil
	}
	return nil, err
}

// matching are the keys of that id for that algorithm. A token that names no key may be by any of them.
func (k *keyring) matching(id, algorithm string) []jose.JSONWebKey {
	all := k.now.Load()
	if all == nil {
		return nil
	}
	var some []jose.JSONWebKey
	for _, key := range *all {
		if (id == "" || key.KeyID == id) && (key.Algorithm == "" || key.Algorithm == algorithm) {
			some = append(some, key)
		}
	}
	return some
}

// read replaces the keys by what the issuer publishes, unless somebody did a moment ago. The reading goes on when the
// caller leaves: others wait for it.
func (k *keyring) read(ctx context.Context) error {
	select {
	case k.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-k.turn }()
	if !k.tried.IsZero() && time.Since(k.tried) < pause {
		return k.err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), within)
	defer cancel()
	text, err := k.load(ctx)
	var keys []jose.JSONWebKey
	if err == nil {
		keys, err = parse(text)
	}
	if err == nil {
		k.now.Store(&keys)
	}
	k.tried, k.err = time.Now(), err
	return err
}

// parse takes the public keys for signatures out of a JWKS. Keys of other kinds are stepped over, RFC 7517 section 5; a set
// without any is refused, so that an empty file does not lock everybody out.
func parse(text []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, errors.New("this is no JWKS")
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if err := json.Unmarshal(raw, &key); err == nil && key.IsPublic() && key.Valid() && key.Use != "enc" {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no public key in this JWKS")
	}
	return keys, nil
}

// loader reads the JWKS from where the configuration says.
func loader(c Config) (func(context.Context) ([]byte, error), error) {
	if !strings.Contains(c.Keys, "://") {
		return func(context.Context) ([]byte, error) { return readFile(c.Keys) }, nil
	}
	u, err := url.Parse(c.Keys)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil {
		return nil, fmt.Errorf("%q is no https URL of keys", c.Keys)
	}
	s := &server{url: u.String(), tokenFile: c.TokenFile, client: &http.Client{
		// No proxy and no redirect: the keys decide who may have a token, so they come from where the configuration says.
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: c.Roots, MinVersion: tls.VersionTLS12}, DisableKeepAlives: true,
			MaxResponseHeaderBytes: largest},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	return s.get, nil
}

// server is the issuer's.
type server struct {
	url, tokenFile string
	client         *http.Client
}

func (s *server) get(ctx context.Context) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, err
	}
	if s.tokenFile != "" {
		token, err := readFile(s.tokenFile)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %d%s", s.url, resp.StatusCode, hint(resp.StatusCode))
	}
	return readAll(resp.Body)
}

// hint: API servers show their keys to nobody, unless a cluster role binding says otherwise.
func hint(status int) string {
	if status == http.StatusUnauthorized || status == http.StatusForbidden {
		return ": the server wants to know who asks, so set kubernetes.token-file to the broker's own token"
	}
	return ""
}

func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f)
}

func readAll(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, largest+1))
	if err == nil && len(b) > largest {
		return nil, fmt.Errorf("more than %d bytes", largest)
	}
	return b, err
}
