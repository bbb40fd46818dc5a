package simulation

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"mailporter/broker/internal/token"
	"mailporter/kit/secret"
)

// world is one run: everything in it follows from the seed.
type world struct {
	trace
	t        *testing.T
	seed     uint64
	script   *rand.Rand // the script's alone
	store    *store
	provider *provider
	referee  *referee
	spread   time.Duration // the most by which two replicas' clocks differ
	replicas []*replica
	boxes    []*mailbox
	ids      []string // of the credentials
	output   output
	running  sync.WaitGroup // callers and what the script began

	mu       sync.Mutex
	versions map[string]int // of each credential: the newest
	newest   map[string]*token.Credential
	wrong    map[string]map[string]bool // versions that do not work any more
}

// mailbox is what callers ask for.
type mailbox struct {
	credential string
	audience   token.Audience
	margin     time.Duration
}

func (m *mailbox) String() string { return m.credential + "/" + string(m.audience) }

// output is all that the replicas print.
type output struct {
	mu   sync.Mutex
	text strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, seed: seed, script: rand.New(rand.NewPCG(seed, 1)), trace: trace{start: time.Now()},
		versions: map[string]int{}, newest: map[string]*token.Credential{}, wrong: map[string]map[string]bool{}}
	w.store, w.provider, w.referee = newStore(w), newProvider(w), newReferee(w)
	return w
}

// dice are random numbers for what is done at this moment: they depend on nothing else but the seed.
func (w *world) dice(what ...string) *rand.Rand {
	h := fnv.New64a()
	var now [8]byte
	binary.LittleEndian.PutUint64(now[:], uint64(time.Since(w.start)))
	h.Write(now[:])
	for _, s := range what {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	return rand.New(rand.NewPCG(w.seed, h.Sum64()))
}

// between draws a duration to the nanosecond, from least up to most.
func between(d *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(d.Int64N(int64(most-least)))
}

func pick[T any](d *rand.Rand, all ...T) T { return all[d.IntN(len(all))] }

// later runs f after a while, on its own.
func (w *world) later(d time.Duration, f func()) {
	w.running.Go(func() {
		time.Sleep(d)
		f()
	})
}

// people draws who there is: the credentials, the mailboxes and the replicas.
func (w *world) people() {
	d := w.script
	w.provider.life = pick(d, 4*time.Minute, 20*time.Minute, time.Hour, 80*time.Minute)
	if d.IntN(3) == 0 {
		w.provider.renewIn = w.provider.life / 2
	}
	w.credential("strict", token.RefreshToken, pick(d, strict, strict, entra, google))
	for i := range 1 + d.IntN(2) {
		w.credential(fmt.Sprintf("c%d", i), pick(d, token.ClientCredentials, token.Password, token.RefreshToken), pick(d, entra, google, strict))
	}
	if d.IntN(4) == 0 {
		w.spread = 2 * time.Second
	}
	for i := range 2 + d.IntN(2) {
		r := &replica{w: w, number: i + 1, configured: map[string]*token.Credential{}}
		if w.spread > 0 {
			r.skew = between(d, -w.spread/2, w.spread/2).Truncate(time.Millisecond)
		}
		for _, id := range w.ids {
			r.configured[id] = w.newest[id]
		}
		r.start()
		w.replicas = append(w.replicas, r)
	}
}

func (w *world) credential(id string, g token.Kind, how rotation) {
	w.provider.truths[id] = newTruth(id, g, how)
	w.ids = append(w.ids, id)
	w.wrong[id] = map[string]bool{}
	w.configure(id)
	for i := range 1 + w.script.IntN(2) {
		w.boxes = append(w.boxes, &mailbox{id, token.Audience(fmt.Sprintf("a%d", i)), pick(w.script, 10*time.Second, time.Minute, 5*time.Minute)})
	}
	w.note("world: %s is a %s (%s)", id, g, how)
}

// configure enters a new secret for a credential, which is a new version of it. Replicas take it up when they reload.
func (w *world) configure(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.versions[id]++
	c := &token.Credential{ID: id, Version: fmt.Sprintf("v%d", w.versions[id]), Provider: token.Microsoft, Label: id}
	w.provider.with(id, func(t *truth) {
		c.Grant = t.grant
		s := secret.New(t.renew())
		switch t.grant {
		case token.RefreshToken:
			c.Refresh = s
		case token.Password:
			c.Password = s
		default:
			c.Secrets = []secret.String{secret.New(marker + "-mistyped"), s}
		}
	})
	w.newest[id] = c
}

// revoke ends all that was configured so far.
func (w *world) revoke(id string) {
	w.provider.with(id, func(t *truth) { t.revoke() })
	w.mu.Lock()
	defer w.mu.Unlock()
	for v := range w.versions[id] {
		w.wrong[id][fmt.Sprintf("v%d", v+1)] = true
	}
	w.note("person: revokes %s", id)
}

// broken says whether a version of a credential may be frozen.
func (w *world) broken(id, version string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.wrong[id][version]
}

func (w *world) latest(id string) *token.Credential {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.newest[id]
}
