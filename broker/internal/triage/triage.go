package triage

import (
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"mailporter/broker/internal/remedy"
	"mailporter/kit/secret"
)

// Report is one refusal of a token.
type Report struct {
	Side    string // names one side of a mailbox
	Version string // of its settings: a changed one is judged anew
	Server  string // host:port
	Reply   string // what it said, or empty
	Token   secret.Fingerprint
	Claims  bool // with a claims challenge
	Session bool // a running session was ended because of its token: that is the token's time, and nobody's fault
}

const (
	atFault  = 10 * time.Minute // how long a mailbox that is at fault waits
	outage   = time.Minute      // how long everybody waits when the server is
	memory   = 30 * time.Minute // how long refusals count against a mailbox, and its mark stays
	window   = 2 * time.Minute  // within which many refusals are one event
	many     = 10               // mailboxes
	perToken = 2                // different tokens of a mailbox that were refused make it the mailbox
)

// Board remembers what was reported. Any number of goroutines may use it.
type Board struct {
	causes *prometheus.CounterVec

	mu      sync.Mutex
	sides   map[string]*side
	servers map[string][]refusal
}

// side is what is known of one side of a mailbox.
type side struct {
	version string
	tokens  map[secret.Fingerprint]time.Time // refused, and when last
	fault   *remedy.Fault                    // what is wrong with it, or nil
	since   time.Time
	last    time.Time
}

type refusal struct {
	side  string
	token secret.Fingerprint
	at    time.Time
}

// New makes an empty Board; metrics may be nil.
func New(metrics prometheus.Registerer) *Board {
	b := &Board{sides: map[string]*side{}, servers: map[string][]refusal{}}
	b.causes = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "broker_rejection_causes_total", Help: "Why mail servers refused tokens, as far as reports tell."}, []string{"cause"})
	if metrics != nil {
		metrics.MustRegister(b.causes)
	}
	return b
}

// Judge takes a report and says what is wrong, or nil: it may be the token, and another one is worth a try.
func (b *Board) Judge(r Report, now time.Time) *remedy.Fault {
	f, cause := b.judge(r, now)
	b.causes.WithLabelValues(cause).Inc()
	return f
}

func (b *Board) judge(r Report, now time.Time) (f *remedy.Fault, cause string) {
	if r.Session {
		return nil, "token"
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.side(r, now)
	if f := read(r.Reply); f != nil {
		return s.mark(f, now), "mailbox"
	}
	if b.refusesEverybody(r, now) {
		return everybody(r.Server), "server"
	}
	switch {
	case len(s.tokens) < perToken:
		return nil, "token"
	case r.Claims:
		return s.mark(unmet(), now), "claims"
	}
	return s.mark(remedy.FreshRefused(atFault), now), "mailbox"
}

// side is that of the report, with its token added; b.mu is held.
func (b *Board) side(r Report, now time.Time) *side {
	s := b.sides[r.Side]
	if s == nil || s.version != r.Version || now.Sub(s.last) >= memory {
		s = &side{version: r.Version, tokens: map[secret.Fingerprint]time.Time{}}
		b.sides[r.Side] = s
	}
	for token, at := range s.tokens {
		if now.Sub(at) >= memory {
			delete(s.tokens, token)
		}
	}
	s.tokens[r.Token], s.last = now, now
	return s
}

func (s *side) mark(f *remedy.Fault, now time.Time) *remedy.Fault {
	if s.fault == nil {
		s.since = now
	}
	s.fault = f
	return f
}

// refusesEverybody notes the refusal and says whether the server refuses many mailboxes, with tokens of many credentials or
// with one and its successor: that one token is refused to all who share it only means that it ended. b.mu is held.
func (b *Board) refusesEverybody(r Report, now time.Time) bool {
	recent := []refusal{{r.Side, r.Token, now}}
	for _, old := range b.servers[r.Server] {
		if now.Sub(old.at) < window && !(old.side == r.Side && old.token == r.Token) && len(recent) < 10*many {
			recent = append(recent, old)
		}
	}
	b.servers[r.Server] = recent
	sides, tokens := map[string]bool{}, map[secret.Fingerprint]int{}
	for _, one := range recent {
		sides[one.side] = true
		tokens[one.token]++
	}
	waves := 0
	for _, n := range tokens {
		if n >= many/2 {
			waves++
		}
	}
	return len(sides) >= many && (len(tokens) >= many || waves > 1)
}

// Of is what is wrong with one side of a mailbox and since when; nil if nothing is known, or was not reported for a while.
func (b *Board) Of(name, version string, now time.Time) (*remedy.Fault, time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.sides[name]
	if s == nil || s.fault == nil || s.version != version || now.Sub(s.last) >= memory {
		return nil, time.Time{}
	}
	return s.fault, s.since
}

// Forget lets one side of a mailbox begin anew: a person says that the cause is gone.
func (b *Board) Forget(name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.sides, name)
}
