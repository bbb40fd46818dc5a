package grpc

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/reflection"

	"mailporter/workers/internal/intake"

	outboxv1 "mailporter/gen/mailporter/outbox/v1"
)

// Server takes mail in. It is made with New.
type Server struct {
	outboxv1.UnimplementedOutboxServiceServer

	config  Config
	outbox  Outbox
	senders *intake.Senders
	grpc    *grpc.Server
	health  *health.Server
	slots   chan struct{}

	mu       sync.Mutex
	draining bool
	calls    sync.WaitGroup // Add is called under mu, and not while draining
}

// connectionAge is when a connection must be made anew: a handshake is the only time that a certificate is looked at.
const connectionAge = time.Hour

// New makes a server that puts mail into o. senders may be filled, and change, while it serves.
func New(c Config, o Outbox, senders *intake.Senders) *Server {
	c = c.withDefaults()
	s := &Server{config: c, outbox: o, senders: senders, health: health.NewServer(), slots: make(chan struct{}, c.MaxSubmissions)}
	creds := insecure.NewCredentials()
	if c.TLS != nil {
		creds = credentials.NewTLS(c.TLS)
	}
	s.grpc = grpc.NewServer(
		grpc.Creds(creds),
		grpc.ChainUnaryInterceptor(s.unary),
		grpc.ChainStreamInterceptor(s.stream),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		// A caller that vanished without a word holds its submission for a minute and a half at most.
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second, MaxConnectionAge: connectionAge}),
		// A header with its recipients. Chunks have a limit of their own; one of 4 MiB, which many take for gRPC's, is told so.
		grpc.MaxRecvMsgSize(4<<20+64<<10),
		grpc.MaxHeaderListSize(64<<10),
	)
	outboxv1.RegisterOutboxServiceServer(s.grpc, s)
	healthv1.RegisterHealthServer(s.grpc, s.health)
	reflection.Register(s.grpc)
	s.health.SetServingStatus(outboxv1.OutboxService_ServiceDesc.ServiceName, healthv1.HealthCheckResponse_SERVING)
	return s
}

// Serve answers calls on l until ctx ends. Then new calls are turned away, submissions that are coming in are taken to their
// end, and Serve returns nil. Another error of l ends it too.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	if s.config.TLS == nil && !isLoopback(l.Addr()) {
		_ = l.Close() // nobody saw it
		return fmt.Errorf("serve at %s: plain text is for loopback only", l.Addr())
	}
	failed := make(chan error, 1)
	go func() { failed <- s.grpc.Serve(l) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	s.drain()
	<-failed // a server that is told to stop before it began closes l only then
	return nil
}

// lastWords is how long answers may take to leave once all calls are over.
const lastWords = time.Second

// drain waits for the calls. Watches of the health service, which never end, are not waited for.
func (s *Server) drain() {
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
	s.health.Shutdown() // load balancers look elsewhere
	ended := make(chan struct{})
	go func() { defer close(ended); s.grpc.GracefulStop() }()
	s.calls.Wait()
	select {
	case <-ended:
	case <-time.After(lastWords):
		s.grpc.Stop()
		<-ended
	}
}

// enter begins a call of ours; leave must follow.
func (s *Server) enter() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return later("SHUTTING_DOWN", "the worker is shutting down", "try again, with the same request_id", time.Second)
	}
	s.calls.Add(1)
	return nil
}

func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if !ours(info.FullMethod) {
		return next(ctx, req)
	}
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.calls.Done()
	return next(ctx, req)
}

func (s *Server) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	switch {
	case ours(info.FullMethod):
		if err := s.enter(); err != nil {
			return err
		}
		defer s.calls.Done()
	case strings.HasPrefix(info.FullMethod, "/grpc.reflection.") && !isLoopback(remote(ss.Context())):
		return refuse(codes.PermissionDenied, "REFLECTION_IS_LOCAL", "the list of services is shown to this machine only", "use the .proto files, or call from the worker's machine")
	}
	return next(srv, ss)
}

func ours(method string) bool {
	return strings.HasPrefix(method, "/"+outboxv1.OutboxService_ServiceDesc.ServiceName+"/")
}

func remote(ctx context.Context) net.Addr {
	if p, ok := peer.FromContext(ctx); ok {
		return p.Addr
	}
	return &net.TCPAddr{}
}

func isLoopback(a net.Addr) bool {
	if a, ok := a.(*net.TCPAddr); ok {
		return a.IP.IsLoopback()
	}
	return a.Network() != "tcp" // in memory, or a Unix socket
}

// plainText is the name of every caller where there is no TLS.
const plainText = "insecure"

// caller is who calls, by the client certificate of the connection.
func (s *Server) caller(ctx context.Context) (intake.Submitter, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return intake.Submitter{}, refuse(codes.Internal, "INTERNAL", "the call has no peer", "report this with the worker's log")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return intake.Submitter{Name: plainText}, nil
	}
	by, listed := s.config.Clients.Admit(info.State)
	switch {
	case by.Name == "":
		return by, refuse(codes.Unauthenticated, "CALLER_NOT_AUTHENTICATED", "the client certificate names nobody",
			"use one with a SPIFFE URI, a DNS name or a common name")
	case !listed:
		return by, refuse(codes.PermissionDenied, "CALLER_FORBIDDEN", fmt.Sprintf("%s may not submit here", by.Name),
			"add it to intake.grpc.clients in the worker's file")
	}
	return by, nil
}
