package service

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"

	"mailporter/broker/internal/audit"
	"mailporter/broker/internal/directory"
	"mailporter/broker/internal/keeper"
	"mailporter/broker/internal/policy"
	"mailporter/broker/internal/token"
	"mailporter/broker/internal/triage"
	"mailporter/kit/secret"

	brokerv1 "mailporter/gen/mailporter/broker/v1"
)

// Tokens is the part of *keeper.Keeper that is served.
type Tokens interface {
	Ask(ctx context.Context, w keeper.Wish) (keeper.Handout, error)
	Reject(ctx context.Context, c *token.Credential, a token.Audience, refused secret.Fingerprint) keeper.Rejection
	Status(ctx context.Context, c *token.Credential, a token.Audience) keeper.Status
	Check(ctx context.Context, w keeper.Wish) error
	Reset(ctx context.Context, c *token.Credential) error
	Watch(w keeper.Wish, changed func()) *keeper.Watch
}

// Config is what a Server needs.
type Config struct {
	Tokens    Tokens
	Directory *directory.Directory
	Audit     *audit.Log
	Log       *slog.Logger
	Metrics   prometheus.Registerer
	TLS       *tls.Config // nil: plain text, which is for loopback only; every caller is then "insecure"
	Accounts  Accounts    // nil: every caller must show a certificate
}

// Server serves the broker's contract.
type Server struct {
	brokerv1.UnimplementedTokenServiceServer
	brokerv1.UnimplementedMailboxServiceServer
	brokerv1.UnimplementedEnrollmentServiceServer

	Config
	limits    policy.Limits
	passwords passwords
	triage    *triage.Board
	metrics   *metrics
	requests  *requests
	grpc      *grpc.Server
	health    *health.Server
	draining  chan struct{} // closed when streams must end
	turns     chan struct{} // holds one for each set of tokens that may be put together at a time
}

// connectionAge is when a connection must be made anew; grpc varies it by a tenth, so that workers do not come all at once.
const connectionAge = time.Hour

// New makes a Server that does not listen yet.
func New(c Config) *Server {
	s := &Server{Config: c, metrics: newMetrics(c.Metrics), triage: triage.New(c.Metrics), requests: newRequests(), health: health.NewServer(), draining: make(chan struct{}),
		turns: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2))}
	conf := c.TLS
	if conf != nil && c.Accounts != nil {
		conf = certificateOptional(conf)
	}
	options := []grpc.ServerOption{
		grpc.Creds(knowingCredentials(conf)),
		grpc.ChainUnaryInterceptor(s.unary),
		grpc.ChainStreamInterceptor(s.stream),
		// Workers ping idle connections every 10 s at most; grpc's own limit of 5 min would cut them off.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		// A handshake is the only time that a certificate is looked at: one that ended or whose authority is no longer trusted is
		// out after connectionAge. Calls that run then are not cut off, and streams end by themselves within streamLife.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second, MaxConnectionAge: connectionAge, MaxConnectionAgeGrace: streamLife}),
		grpc.MaxRecvMsgSize(1 << 20),
		grpc.MaxHeaderListSize(64 << 10), // anybody may send headers: the default is 16 MiB
	}
	s.grpc = grpc.NewServer(options...)
	brokerv1.RegisterTokenServiceServer(s.grpc, s)
	brokerv1.RegisterMailboxServiceServer(s.grpc, s)
	brokerv1.RegisterEnrollmentServiceServer(s.grpc, s)
	healthv1.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
	s.metrics.expect(s.grpc.GetServiceInfo())
	return s
}

// Serve answers calls on l until ctx ends; then it ends streams, lets running calls finish for at most drain, and returns.
func (s *Server) Serve(ctx context.Context, l net.Listener, drain time.Duration) error {
	if s.TLS == nil && !isLoopback(l.Addr()) {
		return fmt.Errorf("serve at %s: plain text is for loopback only", l.Addr())
	}
	failed := make(chan error, 1)
	go func() { failed <- s.grpc.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	s.health.Shutdown() // load balancers look elsewhere
	close(s.draining)
	stop := time.AfterFunc(drain, s.grpc.Stop)
	defer stop.Stop()
	s.grpc.GracefulStop()
	return nil
}

func isLoopback(a net.Addr) bool {
	switch a := a.(type) {
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	default:
		return a.Network() != "tcp" // in memory, or a Unix socket
	}
}
