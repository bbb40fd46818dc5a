package brokertest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/test/bufconn"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
	"mailporter/kit/tokenclient"
)

// Mint makes a token, or for a mailbox with tokenclient.Basic its password; then expires means nothing. An error that
// is a *tokenclient.Error is sent as it is, any other as UNAVAILABLE.
type Mint func(a tokenclient.Ask) (value string, expires time.Time, err error)

// Rejection is one refused token that was reported.
type Rejection struct {
	Ask     tokenclient.Ask // MinValidity and NewerThan are not reported
	Refusal tokenclient.Refusal
	Current bool // whether it was the token of the day
}

// Broker is the server. It is safe for use by many goroutines.
type Broker struct {
	mu         sync.Mutex
	settings   []tokenclient.Settings
	bySide     map[side]tokenclient.Settings
	changed    chan struct{} // closed when settings change
	mint       Mint
	minted     int
	sides      map[side]*state
	asks       []tokenclient.Ask
	rejections []Rejection
	suppressed *tokenclient.Outcome
	stirred    chan struct{} // closed when tokens or failures change
	watches    map[*watching]struct{}
	unwatched  bool // WatchTokens is not implemented

	server  *grpc.Server
	memory  *bufconn.Listener // nil while stopped
	served  sync.WaitGroup
	sockets []*socket // on loopback
	t       testing.TB
}

// socket is a listener on loopback, which an outage closes.
type socket struct {
	address string
	creds   credentials.TransportCredentials
	server  *grpc.Server
}

// side is one side of one mailbox.
type side struct {
	mailbox   string
	direction tokenclient.Direction
}

func sideOf(a tokenclient.Ask) side { return side{strings.ToLower(a.Mailbox), a.Direction} }

// state is what the broker knows of one side.
type state struct {
	token      *token // nil = none
	generation int64
	failure    *tokenclient.Error
}

type token struct {
	value   string
	expires time.Time
	renews  time.Time // watched tokens are replaced from here on
}

// New starts a broker without mailboxes. Its tokens are token-1, token-2, ... and live for an hour. It stops with the test.
func New(t testing.TB) *Broker {
	b := &Broker{changed: make(chan struct{}), stirred: make(chan struct{}), sides: map[side]*state{}, watches: map[*watching]struct{}{}, t: t}
	b.mint = func(tokenclient.Ask) (string, time.Time, error) {
		return fmt.Sprintf("token-%d", b.minted+1), time.Now().Add(time.Hour), nil
	}
	b.Start()
	t.Cleanup(b.close)
	return b
}

// Start takes up service again after Stop.
func (b *Broker) Start() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.memory = bufconn.Listen(1 << 16)
	b.server = b.newServer(insecure.NewCredentials())
	b.serve(b.server, b.memory)
	for _, s := range b.sockets {
		b.listen(s)
	}
}

// Stop is an outage: connections break, new ones are refused. Tokens and mailboxes stay known.
func (b *Broker) Stop() {
	b.mu.Lock()
	servers := []*grpc.Server{b.server}
	b.memory = nil
	for _, s := range b.sockets {
		servers = append(servers, s.server)
	}
	b.mu.Unlock()
	for _, s := range servers {
		s.Stop()
	}
}

func (b *Broker) close() {
	b.Stop()
	b.served.Wait()
}

func (b *Broker) newServer(creds credentials.TransportCredentials) *grpc.Server {
	s := grpc.NewServer(grpc.Creds(creds),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}))
	brokerv1.RegisterTokenServiceServer(s, &tokenService{broker: b})
	brokerv1.RegisterMailboxServiceServer(s, &mailboxService{broker: b})
	return s
}

func (b *Broker) serve(s *grpc.Server, l net.Listener) {
	b.served.Go(func() { _ = s.Serve(l) }) // ends with Stop; what else could go wrong, the calls show
}

// Listen serves on a port of 127.0.0.1 too, until the test ends, and returns host:port. conf is for mutual TLS; nil is
// plain text. Not inside a synctest bubble.
func (b *Broker) Listen(t testing.TB, conf *tls.Config) string {
	t.Helper()
	s := &socket{address: "127.0.0.1:0", creds: insecure.NewCredentials()}
	if conf != nil {
		s.creds = credentials.NewTLS(conf)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sockets = append(b.sockets, s)
	b.listen(s)
	return s.address
}

// listen serves on the socket's address, the same again after an outage; b.mu is held.
func (b *Broker) listen(s *socket) {
	l, err := net.Listen("tcp", s.address)
	if err != nil {
		b.t.Errorf("brokertest: %v", err)
		return
	}
	s.address, s.server = l.Addr().String(), b.newServer(s.creds)
	b.serve(s.server, l)
}

// Client dials the broker in memory. It is closed with the test.
func (b *Broker) Client(t testing.TB) *tokenclient.Client {
	t.Helper()
	return b.ClientWithLog(t, slog.New(slog.DiscardHandler))
}

// ClientWithLog is Client with a log to look at.
func (b *Broker) ClientWithLog(t testing.TB, log *slog.Logger) *tokenclient.Client {
	t.Helper()
	c, err := tokenclient.Dial(tokenclient.Config{Address: "passthrough:///broker", Insecure: true, Dialer: b.Dial}, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

var errStopped = errors.New("the broker is stopped")

// Dial opens a connection in memory.
func (b *Broker) Dial(ctx context.Context, _ string) (net.Conn, error) {
	b.mu.Lock()
	l := b.memory
	b.mu.Unlock()
	if l == nil {
		return nil, errStopped
	}
	return l.DialContext(ctx)
}

// SetMailboxes replaces the settings of all mailboxes and tells those who watch.
func (b *Broker) SetMailboxes(all ...tokenclient.Settings) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.settings, b.bySide = slices.Clone(all), map[side]tokenclient.Settings{}
	for _, s := range all {
		b.bySide[sideOf(s.Ask())] = s
	}
	close(b.changed)
	b.changed = make(chan struct{})
	b.tellWatchers()
}

// OnMint sets how tokens are made. It is called once per token, never side by side, and must not call b.
func (b *Broker) OnMint(m Mint) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mint = m
}

// Fail lets Acquire and watches answer e for one side of a mailbox; nil ends it. Code says how it is sent; empty = FAILED_PRECONDITION.
func (b *Broker) Fail(a tokenclient.Ask, e *tokenclient.Error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.side(a).failure = e
	b.tellWatchers()
}

// Suppress lets every report of a current token be answered Suppressed with o's wait and remedy; nil ends it.
func (b *Broker) Suppress(o *tokenclient.Outcome) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.suppressed = o
}

// Replace makes the broker forget the token of one side, as if somebody else had reported it.
func (b *Broker) Replace(a tokenclient.Ask) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.side(a).token = nil
	b.tellWatchers()
}

// Minted is how many tokens were made.
func (b *Broker) Minted() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.minted
}

// Asks are the questions so far, in order.
func (b *Broker) Asks() []tokenclient.Ask {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.asks)
}

// Rejections are the reports so far, in order.
func (b *Broker) Rejections() []Rejection {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.rejections)
}

// side finds what is known of one side; b.mu is held.
func (b *Broker) side(a tokenclient.Ask) *state {
	s := b.sides[sideOf(a)]
	if s == nil {
		s = &state{}
		b.sides[sideOf(a)] = s
	}
	return s
}

// find returns the settings of one side; b.mu is held.
func (b *Broker) find(a tokenclient.Ask) (tokenclient.Settings, bool) {
	s, ok := b.bySide[sideOf(a)]
	return s, ok
}
