package inbound

import (
	"context"
	"hash/fnv"
	"log/slog"
	"slices"
	"sync"
	"time"

	"mailporter/workers/internal/mail"
)

// A Share says which folders are this worker's when several share them. Each folder belongs to the worker whose name and
// the folder's hash highest together (rendezvous hashing): all workers agree without speaking to each other, each gets
// about as many, and when one comes or goes only its folders change hands. A nil Share is a worker that is alone.
type Share struct {
	peers Peers
	group string
	self  string
	log   *slog.Logger

	mu      sync.Mutex
	members []string
	changed chan struct{} // closed and replaced when members change
}

// NewShare makes the share of worker self among those of group. Run keeps it up to date.
func NewShare(p Peers, group, self string, log *slog.Logger) *Share {
	return &Share{peers: p, group: group, self: self, log: log, changed: make(chan struct{})}
}

const (
	peerBeat = 2 * time.Second  // how often a worker says that it lives
	peerLife = 10 * time.Second // how long the others believe it
	orphaned = 2 * time.Minute  // how long a folder waits for the worker it belongs to
	adopted  = 10 * time.Minute // how long another one reads it then, before the first may try again
)

// Announce tells the others of this worker and learns of them, before the first folder is taken.
func (s *Share) Announce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, peerLife/2)
	defer cancel()
	all, err := s.peers.Announce(ctx, s.group, s.self, peerLife)
	if err != nil {
		return err
	}
	slices.Sort(all)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(all, s.members) {
		s.log.Info("workers that share the folders", "count", len(all))
		s.members = all
		close(s.changed)
		s.changed = make(chan struct{})
	}
	return nil
}

// Run says again and again that this worker lives, until ctx ends; then it says that it leaves. While the state is away
// everybody keeps what he has.
func (s *Share) Run(ctx context.Context) {
	tick := time.NewTicker(peerBeat)
	defer tick.Stop()
	for {
		if err := s.Announce(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("cannot tell the other workers that this one lives", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.leave(context.WithoutCancel(ctx))
			return
		}
	}
}

func (s *Share) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, releaseWithin)
	defer cancel()
	if err := s.peers.Leave(ctx, s.group, s.self); err != nil {
		s.log.Warn("cannot tell the other workers that this one leaves; they find out", "error", err)
	}
}

// Mine says whether a folder belongs to this worker.
func (s *Share) Mine(f mail.Folder) bool {
	mine, _ := s.mine(f)
	return mine
}

// mine also returns what is closed when that may have changed.
func (s *Share) mine(f mail.Folder) (mine bool, changed <-chan struct{}) {
	if s == nil {
		return true, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	best, most := s.self, uint64(0)
	for i, name := range s.members {
		if w := weight(name, f); i == 0 || w > most {
			best, most = name, w
		}
	}
	return best == s.self, s.changed
}

// weight is how much a worker is for a folder.
func weight(worker string, f mail.Folder) uint64 {
	h := fnv.New64a()
	for _, part := range []string{worker, f.Mailbox, f.Name} {
		_, _ = h.Write([]byte(part + "\x00")) // a hash does not fail
	}
	// FNV leaves the upper bits of like names alike: mix them (the finalizer of MurmurHash3).
	x := h.Sum64()
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// await returns when the folder is this worker's, when ctx ends, or when nobody else can have taken it for so long that
// somebody should.
func (s *Share) await(ctx context.Context, f mail.Folder) {
	t := time.NewTimer(orphaned)
	defer t.Stop()
	for {
		mine, changed := s.mine(f)
		if mine {
			return
		}
		select {
		case <-changed:
		case <-t.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// while is a context that ends when the folder becomes another worker's, and for a folder that was adopted after a while:
// the worker it belongs to may be well again.
func (s *Share) while(ctx context.Context, f mail.Folder) (context.Context, context.CancelFunc) {
	ctx, stop := context.WithCancel(ctx)
	if s == nil {
		return ctx, stop
	}
	mine, changed := s.mine(f)
	go func() {
		defer stop()
		var over <-chan time.Time
		if !mine {
			t := time.NewTimer(adopted)
			defer t.Stop()
			over = t.C
		}
		for {
			select {
			case <-changed:
			case <-over:
				return
			case <-ctx.Done():
				return
			}
			if mine, changed = s.mine(f); !mine {
				return
			}
			over = nil
		}
	}()
	return ctx, stop
}
