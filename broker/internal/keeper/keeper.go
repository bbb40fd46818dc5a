package keeper

import (
	"context"
	"hash/maphash"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mailporter/broker/internal/token"
)

// Config is what a Keeper is made of. Grants, Cache and Credentials are required.
type Config struct {
	Grants      map[token.Provider]Grant
	Cache       Cache
	Credentials Credentials
	Log         *slog.Logger          // nil: silent
	Metrics     prometheus.Registerer // nil: not counted

	// LeaseTime is how long a lease lasts; minting ends LeaseGrace before. It must outlive the HTTP time-out of the
	// Grants. Default 20 s.
	LeaseTime time.Duration
	// FlightTime bounds a renewal with all its waiting for another broker's lease. Default 1 min.
	FlightTime time.Duration
	// Recheck is how long a failure is believed before the store is asked again. Default 30 s.
	Recheck time.Duration
	// Chance gives numbers from 0 up to 1, for back-off and polling. Default math/rand; tests give a seeded one. It must be
	// safe for many goroutines.
	Chance func() float64
}

const (
	leaseGrace = 2 * time.Second        // minting ends so long before its lease, to leave time for saving
	storeTime  = 3 * time.Second        // for one look into the cache or the store
	pollTime   = 500 * time.Millisecond // mean time between looks while another broker holds the lease
)

func (c Config) withDefaults() Config {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Chance == nil {
		c.Chance = rand.Float64
	}
	for v, def := range map[*time.Duration]time.Duration{&c.LeaseTime: 20 * time.Second, &c.FlightTime: time.Minute, &c.Recheck: 30 * time.Second} {
		if *v <= 0 {
			*v = def
		}
	}
	return c
}

// Keeper keeps tokens. Its methods may be called from any number of goroutines.
type Keeper struct {
	Config
	meters *meters
	seed   maphash.Seed
	shards [shardCount]shard // slots by token.Key

	mu       sync.Mutex
	accounts map[string][]*account // by credential ID, one for each version

	root    context.Context // of everything that outlives its caller
	stop    context.CancelFunc
	running sync.WaitGroup
}

// New starts a Keeper; end it with Close.
func New(c Config) *Keeper {
	k := &Keeper{Config: c.withDefaults(), seed: maphash.MakeSeed(), accounts: map[string][]*account{}}
	k.root, k.stop = context.WithCancel(context.Background())
	for i := range k.shards {
		k.shards[i].slots = map[token.Key]*slot{}
	}
	k.meters = newMeters(k)
	k.running.Go(k.listen)
	return k
}

// Close gives up what is under way and waits for it. A rotated refresh token that has come is still saved.
func (k *Keeper) Close() {
	k.mu.Lock() // who begins something now has begun it, or does not
	k.stop()
	k.mu.Unlock()
	k.running.Wait()
}

// Retire forgets what is not live: call it after a change of configuration. What the store holds stays.
func (k *Keeper) Retire(live func(credential, version string) bool) {
	k.mu.Lock()
	for id, all := range k.accounts {
		k.accounts[id] = slices.DeleteFunc(all, func(a *account) bool { return !live(id, a.version) })
		if len(k.accounts[id]) == 0 {
			delete(k.accounts, id)
		}
	}
	k.mu.Unlock()
	k.eachSlot(func(s *slot) bool { return live(s.key.Credential, s.key.Version) })
}

// listen takes what other brokers changed: their tokens and failures are looked at before our own memory is believed.
func (k *Keeper) listen() {
	changes := k.Credentials.Changes()
	for {
		select {
		case <-k.root.Done():
			return
		case id, ok := <-changes:
			if !ok {
				return
			}
			k.mu.Lock()
			known := slices.Clone(k.accounts[id])
			k.mu.Unlock()
			for _, a := range known {
				a.changed()
			}
		}
	}
}

// account is the credential's; it is made when it is first asked for.
func (k *Keeper) account(c *token.Credential) *account {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, a := range k.accounts[c.ID] {
		if a.version == c.Version {
			return a
		}
	}
	a := newAccount(c.ID, c.Version)
	k.accounts[c.ID] = append(k.accounts[c.ID], a)
	return a
}
