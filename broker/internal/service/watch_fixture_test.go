package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	plaintext "google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"mailporter/broker/internal/audit"
	"mailporter/broker/internal/directory"
	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/keeper/keepertest"
	"mailporter/broker/internal/token"
	"mailporter/kit/secret"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

// provider is a Grant whose provider answers as told.
type provider struct {
	mu      sync.Mutex
	life    time.Duration
	renewIn time.Duration // refresh_in of the answers; 0 = none
	takes   time.Duration
	fault   error
	minted  int
}

func (p *provider) Mint(ctx context.Context, _ token.Credential, _ secret.String, _ token.Audience) (keeper.Minted, error) {
	sent := time.Now()
	p.mu.Lock()
	takes := p.takes
	p.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		return keeper.Minted{}, ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fault != nil {
		return keeper.Minted{}, p.fault
	}
	p.minted++
	return keeper.Minted{Token: token.Token{Value: secret.New(fmt.Sprintf("MARKER-%d", p.minted)), Sent: sent, Expires: sent.Add(p.life), RenewIn: p.renewIn}}, nil
}

func (p *provider) set(f func(*provider)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(p)
}

// newKeeper is a real keeper; it ends with the test.
func newKeeper(t testing.TB, p *provider, store *keepertest.Broker) *keeper.Keeper {
	k := keeper.New(keeper.Config{Grants: map[token.Provider]keeper.Grant{token.Microsoft: p}, Cache: store, Credentials: store})
	t.Cleanup(k.Close)
	return k
}

// lab is a broker in a bubble: a provider, a keeper and the service on a connection in memory.
type lab struct {
	t        testing.TB
	dir      string
	provider *provider
	store    *keepertest.Memory
	keeper   *keeper.Keeper
	files    *directory.Directory
	audit    *lines
	log      *lines
	conn     *grpc.ClientConn
	stop     context.CancelFunc
	ended    chan error

	mu     sync.Mutex
	memory *bufconn.Listener // nil while the broker is away
	links  []net.Conn
}

const labPolicy = `
rules:
  - {identity: insecure, mailboxes: ["*@contoso.com"], verbs: [token, report, password], tenant-wide: true}
`

// inLab runs a test in a bubble with its own time.
func inLab(t *testing.T, f func(*testing.T, *lab)) {
	synctest.Test(t, func(t *testing.T) { f(t, newLab(t, mailboxFile)) })
}

func newLab(t testing.TB, mailboxes string) *lab {
	l := &lab{t: t, dir: t.TempDir(), provider: &provider{life: time.Hour, takes: 300 * time.Millisecond}, store: keepertest.NewMemory(), audit: &lines{}, log: &lines{}, ended: make(chan error, 1)}
	l.write("broker.yaml", "policy: policy.yaml\nmailboxes: [m/*.yaml]\n")
	l.write("policy.yaml", labPolicy)
	l.write("m/a.yaml", mailboxes)
	l.write("app", "MARKER-app")
	l.write("pass", "MARKER-pass")
	l.load()
	l.start()
	l.connect()
	return l
}

func (l *lab) write(name, text string) {
	path := filepath.Join(l.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		l.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) load() {
	path := filepath.Join(l.dir, "broker.yaml")
	c, complaints := directory.Load(path, nil)
	if err := complaints.Err(); err != nil {
		l.t.Fatal(err)
	}
	l.files = directory.Open(path, c, slog.New(slog.NewTextHandler(l.log, nil)))
}

// start starts a broker on the store.
func (l *lab) start() {
	l.keeper = newKeeper(l.t, l.provider, l.store.Broker())
	server := New(Config{Tokens: l.keeper, Directory: l.files, Audit: audit.To(l.audit), Log: slog.New(slog.NewTextHandler(l.log, nil)), Metrics: prometheus.NewRegistry()})
	ctx, stop := context.WithCancel(context.Background())
	memory := bufconn.Listen(1 << 20)
	l.mu.Lock()
	l.memory = memory
	l.mu.Unlock()
	l.stop = stop
	go func() { l.ended <- server.Serve(ctx, memory, 5*time.Second) }()
}

// vanish ends the broker, unless it is away: its connections break, and nobody answers.
func (l *lab) vanish() {
	l.mu.Lock()
	if l.memory == nil {
		l.mu.Unlock()
		return
	}
	l.memory = nil
	for _, link := range l.links {
		link.Close()
	}
	l.links = nil
	l.mu.Unlock()
	l.stop()
	if err := <-l.ended; err != nil {
		l.t.Error(err)
	}
	l.keeper.Close()
}

// dial opens a connection in memory.
func (l *lab) dial(ctx context.Context, _ string) (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.memory == nil {
		return nil, errors.New("the broker is away")
	}
	link, err := l.memory.DialContext(ctx)
	l.links = append(l.links, link)
	return link, err
}

func (l *lab) connect() {
	var err error
	l.conn, err = grpc.NewClient("passthrough:///lab", grpc.WithTransportCredentials(plaintext.NewCredentials()), grpc.WithContextDialer(l.dial))
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(l.end)
}

func (l *lab) end() {
	l.conn.Close()
	l.vanish()
	if text := l.audit.String() + l.log.String(); strings.Contains(text, "MARKER") {
		l.t.Errorf("a secret was written:\n%s", text)
	}
}

// reload takes up changed files and lets what follows from it happen.
func (l *lab) reload() {
	if err := l.files.Reload().Err(); err != nil {
		l.t.Fatal(err)
	}
	l.keeper.Retire(l.files.Now().Live)
	synctest.Wait()
}

// sets collects what a stream says.
type sets struct {
	t      testing.TB
	cancel context.CancelFunc
	ended  chan struct{}

	mu  sync.Mutex
	all []*brokerv1.WatchTokensResponse
	err error // how it ended
}

func (l *lab) watch(selectors ...*brokerv1.Selector) *sets {
	ctx, cancel := context.WithCancel(context.Background())
	s := &sets{t: l.t, cancel: cancel, ended: make(chan struct{})}
	stream, err := brokerv1.NewTokenServiceClient(l.conn).WatchTokens(ctx, &brokerv1.WatchTokensRequest{Selectors: selectors})
	if err != nil {
		l.t.Fatal(err)
	}
	go s.collect(stream)
	l.t.Cleanup(func() { cancel(); <-s.ended })
	return s
}

func (s *sets) collect(stream grpc.ServerStreamingClient[brokerv1.WatchTokensResponse]) {
	defer close(s.ended)
	for {
		set, err := stream.Recv()
		s.mu.Lock()
		if err != nil {
			s.err = err
			s.mu.Unlock()
			return
		}
		s.all = append(s.all, set)
		s.mu.Unlock()
	}
}

func (s *sets) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}

// last is the newest set as words: the generation's place is taken by the token's number.
func (s *sets) last() string {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) == 0 {
		return "nothing"
	}
	var words []string
	for _, e := range s.all[len(s.all)-1].GetEntries() {
		switch {
		case e.GetAccessToken() != nil:
			words = append(words, "token "+strings.TrimPrefix(e.GetAccessToken().GetValue(), "MARKER-"))
		case e.GetPassword() != nil:
			words = append(words, "password of "+e.GetPassword().GetUser())
		default:
			words = append(words, e.GetFailure().GetReason())
		}
		if e.GetWarning() != "" {
			words[len(words)-1] += ", warned"
		}
	}
	return strings.Join(words, "; ")
}

// says holds what the newest set says.
func (s *sets) says(want string) {
	s.t.Helper()
	synctest.Wait()
	if got := s.last(); got != want {
		s.t.Fatalf("the set says %q, want %q", got, want)
	}
}
