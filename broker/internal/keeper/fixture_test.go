package keeper_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/keeper/keepertest"
	"mailporter/broker/internal/remedy"
	"mailporter/broker/internal/token"
	"mailporter/kit/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	scope  = token.Audience("https://outlook.office365.com/.default")
	margin = 10 * time.Second
)

// provider is a Grant whose provider answers as told.
type provider struct {
	life    time.Duration
	latency time.Duration
	rotates bool
	value   string // of every token; empty: each is another
	// answer, if set, may refuse the n-th request (from 1).
	answer func(n int, c token.Credential, refresh string) error

	mu       sync.Mutex
	calls    []call
	inFlight int
	crowd    int // the most requests at one time
}

type call struct {
	at              time.Time
	secret, refresh string
	audience        token.Audience
}

func (p *provider) Mint(ctx context.Context, c token.Credential, refresh secret.String, a token.Audience) (keeper.Minted, error) {
	sent := time.Now()
	n := p.enter(call{sent, reveal(c.Secrets), refresh.Reveal(), a})
	defer p.leave()
	select {
	case <-time.After(p.latency):
	case <-ctx.Done():
		return keeper.Minted{}, remedy.FromError(remedy.About{}, ctx.Err())
	}
	if p.answer != nil {
		if err := p.answer(n, c, refresh.Reveal()); err != nil {
			return keeper.Minted{}, err
		}
	}
	m := keeper.Minted{Token: token.Token{Value: secret.New(fmt.Sprintf("token-%d", n)), Sent: sent, Expires: sent.Add(p.life)}}
	if p.value != "" {
		m.Token.Value = secret.New(p.value)
	}
	if p.rotates {
		m.Refresh = secret.New(fmt.Sprintf("refresh-%d", n))
	}
	return m, nil
}

func (p *provider) enter(c call) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls = append(p.calls, c)
	p.inFlight++
	p.crowd = max(p.crowd, p.inFlight)
	return len(p.calls)
}

func (p *provider) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.inFlight--
}

func (p *provider) requests() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.calls)
}

func (p *provider) crowdMost() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.crowd
}

func (p *provider) last() call {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.calls[len(p.calls)-1]
}

func reveal(s []secret.String) string {
	if len(s) == 0 {
		return ""
	}
	return s[0].Reveal()
}

// house is a provider, a store and the brokers on them.
type house struct {
	t *testing.T
	*provider
	store *keepertest.Memory
	seed  uint64
}

// inHouse runs a test in a bubble with its own time.
func inHouse(t *testing.T, f func(*testing.T, *house)) {
	synctest.Test(t, func(t *testing.T) {
		f(t, &house{t: t, provider: &provider{life: time.Hour, latency: 300 * time.Millisecond}, store: keepertest.NewMemory()})
	})
}

// broker starts another broker; it ends with the test at the latest.
func (h *house) broker() *keeper.Keeper { return h.brokerWith(keeper.Config{}) }

func (h *house) brokerWith(c keeper.Config) *keeper.Keeper {
	view := h.store.Broker()
	h.seed++
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(h.seed, 1))
	c.Grants = map[token.Provider]keeper.Grant{token.Microsoft: h.provider, token.Google: h.provider}
	c.Cache, c.Credentials = view, view
	c.Chance = func() float64 {
		mu.Lock()
		defer mu.Unlock()
		return random.Float64()
	}
	k := keeper.New(c)
	h.t.Cleanup(k.Close)
	return k
}

func appOnly() *token.Credential {
	return &token.Credential{
		ID: "app", Version: "v1", Provider: token.Microsoft, Grant: token.ClientCredentials, Label: "contoso",
		Secrets: []secret.String{secret.New("s1")},
	}
}

func delegated() *token.Credential {
	return &token.Credential{
		ID: "user", Version: "v1", Provider: token.Microsoft, Grant: token.RefreshToken, Label: "support",
		Refresh: secret.New("configured"),
	}
}

func wish(c *token.Credential) keeper.Wish {
	return keeper.Wish{Credential: c, Audience: scope, Margin: margin}
}

// must is an Ask that brings a token outside its margin.
func (h *house) must(k *keeper.Keeper, w keeper.Wish) keeper.Handout {
	h.t.Helper()
	out, err := k.Ask(h.t.Context(), w)
	if err != nil {
		h.t.Fatalf("at %s: %v", time.Now().Format(time.TimeOnly), err)
	}
	if left := time.Until(out.Token.Expires); left <= w.Margin {
		h.t.Fatalf("handed out with %s left, margin %s", left, w.Margin)
	}
	return out
}

// fault is an Ask that fails with a fault of the reason.
func (h *house) fault(k *keeper.Keeper, w keeper.Wish, reason string) *remedy.Fault {
	h.t.Helper()
	_, err := k.Ask(h.t.Context(), w)
	var f *remedy.Fault
	if !errors.As(err, &f) || f.Reason != reason {
		h.t.Fatalf("want %s, got %v", reason, err)
	}
	return f
}

// want holds the number of requests so far.
func (h *house) want(n int) {
	h.t.Helper()
	if got := h.requests(); got != n {
		h.t.Fatalf("%d requests to the provider, want %d", got, n)
	}
}

func refuse(reason string) error {
	return &remedy.Fault{Class: remedy.WrongConfig, Reason: reason, Remedy: "Somebody must act."}
}

func down() error {
	return &remedy.Fault{Class: remedy.Transient, Reason: remedy.Unavailable, Remedy: "Nobody must act."}
}

func revoked() error {
	return &remedy.Fault{Class: remedy.NeedsUser, Reason: remedy.ReauthorizationRequired, OAuth: "invalid_grant", Remedy: "The user must act."}
}
